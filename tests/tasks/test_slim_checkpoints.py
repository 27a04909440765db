"""Models of the Object Detection API: the same numbers from the same weights.

The reference is put together of tf_slim's own ResNet, TensorFlow 1 operations and NumPy loops.
"""

import numpy as np
import pytest
import tensorflow as tf
import tf_slim as slim
from tf_slim.nets import resnet_utils, resnet_v1

from context_rcnn.tasks import loading, slim_checkpoints
from tests.tolerance import PIXELS, SCORES

v1 = tf.compat.v1

SIZE, STRIDE, CLASSES, PROPOSALS, ENTRIES, LENGTH, BOTTLENECK = (64, 96), 16, 3, 8, 5, 30, 12
SCALES, RATIOS, BASE = [0.5, 1.0], [0.5, 1.0, 2.0], 32
DEPTHS, UNITS = (4, 8, 16, 32), (3, 4, 6, 3)  # ResNet-50, a sixteenth of the channels
OVERRIDES = "task.model.backbone.depth_multiplier=0.0625"
CONFIG = """
model { faster_rcnn {
  num_classes: 3
  image_resizer { fixed_shape_resizer { height: 64 width: 96 } }
  feature_extractor { type: 'faster_rcnn_resnet50' batch_norm_trainable: true }
  first_stage_anchor_generator { grid_anchor_generator {
    height: 32 width: 32 scales: [0.5, 1.0] aspect_ratios: [0.5, 1.0, 2.0] } }
  first_stage_box_predictor_depth: 16
  first_stage_max_proposals: 8
  second_stage_box_predictor { mask_rcnn_box_predictor { SHARE } }
  second_stage_post_processing { score_converter: SOFTMAX }
  CONTEXT
} }
train_config { optimizer { momentum_optimizer { } use_moving_average: false } }
"""
CONTEXT = "context_config { attention_bottleneck_dimension: 12 context_feature_length: 30 }"
LABELS = "".join(f"item {{ id: {i} name: 'class {i}' }}\n" for i in range(1, CLASSES + 1))


def batch_norm(x, epsilon, **_):
    """slim's, which needs layers that TensorFlow 2.20 no longer has; for inference."""
    with v1.variable_scope("BatchNorm"):
        gamma, beta, mean, variance = (
            v1.get_variable(name, [x.shape[-1]])
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)


def trunk(images):
    x = images - [123.68, 116.779, 103.939]
    with v1.variable_scope("FirstStageFeatureExtractor/resnet_v1_50"):
        x = resnet_utils.conv2d_same(x, DEPTHS[0], 7, stride=2, scope="conv1")
        x = slim.max_pool2d(x, [3, 3], stride=2, padding="SAME", scope="pool1")
        blocks = [
            resnet_v1.resnet_v1_block(f"block{i + 1}", DEPTHS[i], UNITS[i], stride=2)
            for i in range(3)
        ]
        return resnet_utils.stack_blocks_dense(x, blocks, output_stride=4)


def second_stage(crops):
    with v1.variable_scope("SecondStageFeatureExtractor/resnet_v1_50"):
        block = resnet_v1.resnet_v1_block("block4", DEPTHS[3], UNITS[3], stride=1)
        return resnet_utils.stack_blocks_dense(crops, [block])


def project(rows, depth, normalise):
    shape = tf.shape(rows)
    rows = slim.fully_connected(
        tf.reshape(rows, [-1, rows.shape[-1]]),
        depth,
        activation_fn=tf.nn.relu6,
        normalizer_fn=batch_norm,
        normalizer_params={"epsilon": 0.001},
    )
    rows = tf.reshape(rows, [shape[0], -1, depth])
    return tf.math.l2_normalize(rows, axis=-1) if normalise else rows


def attention(boxes, context, temperature=0.01):
    with v1.variable_scope("AttentionBlock"):
        queries = project(boxes, BOTTLENECK, True)
        keys = project(context, BOTTLENECK, True)
        values = project(context, BOTTLENECK, True)
    weights = tf.nn.softmax(tf.matmul(queries, keys, transpose_b=True) / temperature)
    return project(tf.matmul(weights, values), boxes.shape[-1], False)


class Reference:
    """The old detector in a graph of its own, with weights drawn by chance."""

    def __init__(self, with_context, shared_boxes, crops=True):
        self.graph = tf.Graph()
        anchors = len(SCALES) * len(RATIOS)
        with self.graph.as_default():
            v1.set_random_seed(0)
            self.images = v1.placeholder(tf.float32, [1, *SIZE, 3])
            self.boxes = v1.placeholder(tf.float32, [None, 4])
            self.context = v1.placeholder(tf.float32, [1, ENTRIES, LENGTH])
            norm = {"normalizer_fn": batch_norm, "normalizer_params": {"epsilon": 1e-5}}
            scope = resnet_utils.resnet_arg_scope(weight_decay=0.0)
            with slim.arg_scope(scope), slim.arg_scope([slim.conv2d], **norm):
                maps = trunk(self.images)
                linear = {"activation_fn": None, "normalizer_fn": None}
                hidden = slim.conv2d(
                    maps, 16, 3, activation_fn=tf.nn.relu6, normalizer_fn=None, scope="Conv"
                )
                scope = "FirstStageBoxPredictor"
                self.encodings = slim.conv2d(
                    hidden, anchors * 4, 1, scope=f"{scope}/BoxEncodingPredictor", **linear
                )
                self.objectness = slim.conv2d(
                    hidden, anchors * 2, 1, scope=f"{scope}/ClassPredictor", **linear
                )
                number = tf.zeros(tf.shape(self.boxes)[:1], tf.int32)
                x = tf.image.crop_and_resize(maps, self.boxes, number, [14, 14])
                if with_context and crops:
                    pooled = tf.reduce_mean(x, [1, 2])[None]
                    x += attention(pooled, self.context)[0][:, None, None]
                x = second_stage(slim.max_pool2d(x, 2, 2))
                if with_context and not crops:
                    pooled = tf.reduce_mean(x, [1, 2])[None]
                    x += attention(pooled, self.context)[0][:, None, None]
                x = tf.reduce_mean(x, [1, 2])
                scope = "SecondStageBoxPredictor"
                self.offsets = slim.fully_connected(
                    x,
                    4 * (1 if shared_boxes else CLASSES),
                    scope=f"{scope}/BoxEncodingPredictor",
                    **linear,
                )
                self.logits = slim.fully_connected(
                    x, CLASSES + 1, scope=f"{scope}/ClassPredictor", **linear
                )
            v1.train.create_global_step()
            self.session = v1.Session()
            self.session.run(v1.global_variables_initializer())
            rng = np.random.default_rng(0)
            for variable in v1.global_variables():
                name, shape = variable.op.name, variable.shape.as_list()
                if name.endswith(("gamma", "moving_variance")):
                    variable.load(rng.uniform(0.5, 1.5, shape), self.session)
                elif name.endswith(("beta", "moving_mean", "biases")):
                    variable.load(rng.normal(0, 0.1, shape), self.session)
                elif name.startswith(("Conv/", "FirstStageBoxPredictor/")):  # no scores are ties
                    variable.load(rng.normal(0, 0.02, shape), self.session)

    def save(self, folder):
        with self.graph.as_default():
            return v1.train.Saver().save(self.session, str(folder / "model.ckpt"))

    def proposals(self, images):
        """Section by section as the meta architecture: decode, clip, suppress."""
        encodings, objectness = self.session.run(
            [self.encodings, self.objectness], {self.images: images}
        )
        encodings, objectness = encodings.reshape(-1, 4), objectness.reshape(-1, 2)
        scores = np.exp(objectness[:, 1]) / np.exp(objectness).sum(axis=1)
        anchors = [
            (y * STRIDE, x * STRIDE, scale / np.sqrt(ratio) * BASE, scale * np.sqrt(ratio) * BASE)
            for y in range(SIZE[0] // STRIDE)
            for x in range(SIZE[1] // STRIDE)
            for ratio in RATIOS
            for scale in SCALES
        ]
        boxes = [decode(code, anchor) for code, anchor in zip(encodings, anchors, strict=True)]
        boxes = np.clip(boxes, 0, [*SIZE, *SIZE])
        kept = suppress(boxes, scores, 0.7, PROPOSALS)
        return boxes[kept], scores[kept]

    def second(self, images, boxes, context):
        feed = {self.images: images, self.boxes: boxes / [*SIZE, *SIZE], self.context: context}
        return self.session.run([self.logits, self.offsets], feed)


def decode(code, anchor):
    ty, tx, th, tw = code / [10, 10, 5, 5]
    y, x, height, width = anchor
    height, width, y, x = np.exp(th) * height, np.exp(tw) * width, ty * height + y, tx * width + x
    return [y - height / 2, x - width / 2, y + height / 2, x + width / 2]


def suppress(boxes, scores, threshold, count):
    kept = []
    for i in np.argsort(-scores):
        side = boxes[i, 2:] - boxes[i, :2]
        if (side > 1).all() and all(iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept[:count]


def iou(a, b):
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    areas = [np.prod(box[2:] - box[:2]) for box in (a, b)]
    return sides.prod() / (sum(areas) - sides.prod())


def write(tmp_path, reference, context=True, shared=True):
    """Checkpoint, config and label map, as a model of the zoo comes."""
    text = CONFIG.replace("CONTEXT", CONTEXT if context else "")
    share = "share_box_across_classes: true" if shared else ""
    (tmp_path / "pipeline.config").write_text(text.replace("SHARE", share))
    (tmp_path / "labels.pbtxt").write_text(LABELS)
    return {
        "checkpoint": reference.save(tmp_path),
        "pipeline_config": str(tmp_path / "pipeline.config"),
        "label_map": str(tmp_path / "labels.pbtxt"),
        "model_dir": str(tmp_path / "run"),
        "overrides": OVERRIDES,
    }


@pytest.mark.parametrize(
    "context, shared, crops",
    [
        (True, True, True),
        pytest.param(True, True, False, marks=pytest.mark.slow),
        pytest.param(False, False, True, marks=pytest.mark.slow),
    ],
)
def test_a_converted_model_gives_the_same_numbers(tmp_path, context, shared, crops):
    reference = Reference(context, shared, crops)
    left = slim_checkpoints.convert(**write(tmp_path, reference, context, shared))
    assert left == []
    trained = loading.load_run(str(tmp_path / "run"))
    assert trained.task.class_names == {1: "class 1", 2: "class 2", 3: "class 3"}
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, [1, *SIZE, 3]).astype(np.float32)
    memory = rng.normal(size=[1, ENTRIES, LENGTH]).astype(np.float32)
    boxes, scores = reference.proposals(images)
    assert len(boxes) == PROPOSALS
    model = trained.model
    shape = np.float32([SIZE])
    proposals = model.look(images, shape).proposals
    assert np.diff(scores).max() < -1e-6 and scores.max() < 0.9999
    np.testing.assert_allclose(proposals.boxes[0], boxes, rtol=0, atol=PIXELS)
    np.testing.assert_allclose(proposals.scores[0], scores, rtol=0, atol=SCORES)
    given = {"context_features": memory, "context_valid": np.ones([1, ENTRIES], bool)}
    outputs = model(images, shape, memory=given if context else None)
    logits, offsets = reference.second(images, boxes, memory)
    np.testing.assert_allclose(outputs["class_logits"][0], logits, rtol=1e-3, atol=1e-3)
    found = np.reshape(outputs["box_offsets"][0], [PROPOSALS, CLASSES + 1, 4])[:, 1:]
    offsets = np.broadcast_to(offsets.reshape(PROPOSALS, -1, 4), found.shape)
    np.testing.assert_allclose(found, offsets, rtol=1e-3, atol=1e-3)
    if context:
        without = model(images, shape)["class_logits"]
        assert np.abs(without - outputs["class_logits"]).max() > 0.01


def test_what_does_not_fit_is_named(tmp_path):
    flags = write(tmp_path, Reference(False, True), context=False)
    with pytest.raises(ValueError, match="labels.pbtxt has ids up to 2.* has 3 classes"):
        (tmp_path / "labels.pbtxt").write_text(LABELS.rpartition("item")[0])
        slim_checkpoints.convert(**flags)
    (tmp_path / "labels.pbtxt").write_text(LABELS)
    with pytest.raises(ValueError, match=r"conv1: the model has weights of .*7, 7, 3, 8"):
        slim_checkpoints.convert(**flags | {"overrides": OVERRIDES.replace("0.0625", "0.125")})
    with pytest.raises(ValueError, match="no variable FirstStageFeatureExtractor/resnet_v1_101"):
        other = "task.model.backbone.model_id=101," + OVERRIDES
        slim_checkpoints.convert(**flags | {"overrides": other})
    with pytest.raises(ValueError, match="one attention block has three projections"):
        text = (tmp_path / "pipeline.config").read_text()
        (tmp_path / "other.config").write_text(text.replace("num_classes", CONTEXT + "num_classes"))
        slim_checkpoints.convert(**flags | {"pipeline_config": str(tmp_path / "other.config")})
    assert not (tmp_path / "run" / "params.yaml").exists()
    with pytest.raises(ValueError, match="--checkpoint .*nowhere"):
        slim_checkpoints.convert(**flags | {"checkpoint": str(tmp_path / "nowhere")})
    slim_checkpoints.convert(**flags)
    with pytest.raises(ValueError, match="there is a run in it"):
        slim_checkpoints.convert(**flags)
