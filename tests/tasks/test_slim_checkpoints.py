"""Models of the Object Detection API: the same numbers from the same weights.

The reference is put together of tf_slim's own ResNet, TensorFlow 1 operations, and NumPy loops that
were written from its sources: meta_architectures/faster_rcnn_meta_arch.py and context_rcnn_lib.py,
core/post_processing.py and core/box_list_ops.py.
"""

import numpy as np
import pytest
import tensorflow as tf
import tf_slim as slim
from tf_slim.nets import resnet_utils, resnet_v1

from context_rcnn.tasks import loading, slim_checkpoints
from tests.tolerance import PIXELS, SCORES, assert_close

v1 = tf.compat.v1

SIZE, STRIDE, CLASSES, PROPOSALS, ENTRIES, LENGTH, BOTTLENECK = (64, 96), 16, 3, 16, 6, 30, 12
SCORE, NMS_IOU, DETECTIONS = 0.01, 0.6, 20
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
  first_stage_max_proposals: 16
  second_stage_box_predictor { mask_rcnn_box_predictor { SHARE } }
  second_stage_post_processing {
    batch_non_max_suppression { score_threshold: 0.01 max_total_detections: 20 }
    score_converter: SOFTMAX
  }
  CONTEXT
} }
train_config { optimizer { momentum_optimizer { } use_moving_average: false } }
"""
CONTEXT = "context_config { attention_bottleneck_dimension: 12 context_feature_length: 30 LATER }"
LATER = (
    "use_self_attention: true self_attention_in_sequence: true "
    "num_attention_heads: 2 num_attention_layers: 2"
)
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


def attention(boxes, context, valid, name="AttentionBlock", temperature=0.01):
    """A block: queries, keys and values in a scope of its own, the output outside."""
    with v1.variable_scope(name):
        queries = project(boxes, BOTTLENECK, True)
        keys = project(context, BOTTLENECK, True)
        values = project(context, BOTTLENECK, True)
    there = tf.cast(valid, tf.float32)[None]
    logits = tf.matmul(queries, keys, transpose_b=True) - 1e5 * (1 - there)[:, None]
    weights = tf.nn.softmax(logits / temperature)
    return project(tf.matmul(weights, values * there[..., None]), boxes.shape[-1], False)


def later_attention(boxes, boxes_valid, context, valid):
    """Self-attention, halved with its input; layers of two heads; and the input once more."""
    own = attention(boxes, boxes, boxes_valid, "SelfAttentionBlock")
    asked = answer = (own + boxes) / 2
    for layer in range(2):
        heads = [
            attention(answer, context, valid, f"AttentionBlock{head}_AttentionLayer{layer}")
            for head in range(2)
        ]
        answer += tf.add_n(heads) / 2
    return answer + asked


class Reference:
    """The old detector in a graph of its own, with weights drawn by chance.

    Args:
        release: of the attention: `first`, `later`, or "" without one.
        shared_boxes: all classes have the offsets of a box in common.
        crops: the context is added to crops rather than to features.
    """

    def __init__(self, release, shared_boxes, crops=True):
        self.graph = tf.Graph()
        self.release, self.at_crops = release, crops
        anchors = len(SCALES) * len(RATIOS)
        with self.graph.as_default():
            v1.set_random_seed(0)
            self.images = v1.placeholder(tf.float32, [1, *SIZE, 3])
            self.boxes = v1.placeholder(tf.float32, [None, 4])
            self.boxes_valid = v1.placeholder(tf.bool, [None])
            self.context = v1.placeholder(tf.float32, [1, ENTRIES, LENGTH])
            self.context_size = v1.placeholder(tf.int32, [])
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
                x = tf.reduce_mean(self._box_features(maps), [1, 2])
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
            rng, drawn = np.random.default_rng(0), {}
            for variable in v1.global_variables():
                name, shape = variable.op.name, variable.shape.as_list()
                if name.endswith("moving_variance"):
                    drawn[variable] = rng.uniform(0.5, 1.5, shape)
                elif name.endswith("gamma"):  # what blocks add stays small, attention does not
                    strength = 4.0 if "fully_connected" in name else 1.0
                    drawn[variable] = strength * rng.uniform(0.3, 0.7, shape)
                elif name.endswith(("beta", "moving_mean", "biases")):
                    drawn[variable] = rng.normal(0, 0.1, shape)
                elif name.startswith("Conv/"):  # so small that not all is cut off at 6: no ties
                    drawn[variable] = rng.normal(0, 0.02, shape)
                elif name.startswith("FirstStageBoxPredictor/"):
                    drawn[variable] = rng.normal(0, 0.1, shape)
                elif name.startswith("SecondStageBoxPredictor/"):  # no class has all the score
                    strength = 0.02 if "ClassPredictor" in name else 0.1
                    drawn[variable] = rng.normal(0, strength, shape)
            # One run: with each other run the session prunes the whole graph again.
            starts = {variable.initializer: value for variable, value in drawn.items()}
            self.session.run([*starts], {op.inputs[1]: value for op, value in starts.items()})

    def _box_features(self, maps):
        """Crops, pooled, through block4; the releases add their context at other places."""
        number = tf.zeros(tf.shape(self.boxes)[:1], tf.int32)
        x = tf.image.crop_and_resize(maps, self.boxes, number, [14, 14])
        if self.release != "later":
            x = self._with_context(x) if self.release and self.at_crops else x
            x = second_stage(slim.max_pool2d(x, 2, 2))
            return self._with_context(x) if self.release and not self.at_crops else x
        x = slim.max_pool2d(x, 2, 2)
        if self.at_crops:
            return second_stage(self._with_context(x))
        return self._with_context(second_stage(x))

    def _with_context(self, x):
        pooled = tf.reduce_mean(x, [1, 2])[None]
        valid = tf.range(ENTRIES) < self.context_size
        if self.release == "first":
            said = attention(pooled, self.context, valid)
        else:
            said = later_attention(pooled, self.boxes_valid, self.context, valid)
        return x + said[0][:, None, None]

    def save(self, folder):
        with self.graph.as_default():
            return v1.train.Saver().save(self.session, str(folder / "model.ckpt"))

    def proposals(self, images, shape):
        """Anchors are clipped to the padded image; then decode, suppress, clip, drop.

        Returns:
            Boxes and scores, and the share of the anchors that reach out of the image.
        """
        encodings, objectness = self.session.run(
            [self.encodings, self.objectness], {self.images: images}
        )
        encodings, objectness = encodings.reshape(-1, 4), objectness.reshape(-1, 2)
        scores = np.exp(objectness[:, 1]) / np.exp(objectness).sum(axis=1)
        anchors = np.array(
            [
                [
                    y * STRIDE - scale / np.sqrt(ratio) * BASE / 2,
                    x * STRIDE - scale * np.sqrt(ratio) * BASE / 2,
                    y * STRIDE + scale / np.sqrt(ratio) * BASE / 2,
                    x * STRIDE + scale * np.sqrt(ratio) * BASE / 2,
                ]
                for y in range(SIZE[0] // STRIDE)
                for x in range(SIZE[1] // STRIDE)
                for ratio in RATIOS
                for scale in SCALES
            ]
        )
        clipped = clip(anchors, SIZE)
        boxes = np.array([decode(c, a) for c, a in zip(encodings, clipped, strict=True)])
        kept = suppress(boxes, scores, 0.7, PROPOSALS)
        boxes, scores = clip(boxes[kept], shape), scores[kept]
        there = has_area(boxes)
        return boxes[there], scores[there], (anchors != clipped).any(axis=1).mean()

    def second(self, images, boxes, context, context_size):
        """Logits and offsets of the boxes; padding is a box of zeros, as there."""
        padded = np.zeros([PROPOSALS, 4])
        padded[: len(boxes)] = boxes
        feed = {
            self.images: images,
            self.boxes: padded / [*SIZE, *SIZE],
            self.boxes_valid: np.arange(PROPOSALS) < len(boxes),
            self.context: context,
            self.context_size: context_size,
        }
        logits, offsets = self.session.run([self.logits, self.offsets], feed)
        return logits[: len(boxes)], offsets[: len(boxes)]

    def detections(self, boxes, logits, offsets, shape):
        """Class by class: decode, suppress; then all of them together: clip, drop, the best.

        Returns:
            Rows of score, class and box, best first.
        """
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        offsets, found = offsets.reshape(len(boxes), -1, 4), []
        for label in range(1, CLASSES + 1):
            codes = offsets[:, min(label - 1, offsets.shape[1] - 1)]
            refined = np.array([decode(c, box) for c, box in zip(codes, boxes, strict=True)])
            good = np.flatnonzero(scores[:, label] > SCORE)
            kept = good[suppress(refined[good], scores[good, label], NMS_IOU, 100)]
            found += [[scores[i, label], label, *clip(refined[i], shape)] for i in kept]
        found = np.array(sorted(found, key=lambda row: -row[0]))
        return found[has_area(found[:, 2:])][:DETECTIONS]


def decode(code, box):
    ty, tx, th, tw = code / [10, 10, 5, 5]
    height, width = box[2] - box[0], box[3] - box[1]
    y, x = ty * height + box[0] + height / 2, tx * width + box[1] + width / 2
    height, width = np.exp(th) * height, np.exp(tw) * width
    return [y - height / 2, x - width / 2, y + height / 2, x + width / 2]


def clip(boxes, shape):
    return np.clip(boxes, 0, [*shape, *shape])


def has_area(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) > 0


def suppress(boxes, scores, threshold, count):
    kept = []
    for i in np.argsort(-scores):
        if len(kept) < count and all(iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return np.array(kept, int)


def iou(a, b):
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    areas = [np.prod(box[2:] - box[:2]) for box in (a, b)]
    return sides.prod() / (sum(areas) - sides.prod())


def write(tmp_path, reference, shared=True):
    """Checkpoint, config and label map, as a model of the zoo comes."""
    context = CONTEXT.replace("LATER", LATER if reference.release == "later" else "")
    text = CONFIG.replace("CONTEXT", context if reference.release else "")
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


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "release, shared, crops, shape, context_size",
    [
        pytest.param("first", True, True, SIZE, ENTRIES, id="first"),
        pytest.param(
            *("later", False, True, (64, 64), ENTRIES // 2),
            id="later, padded, half empty",
            marks=slow,
        ),
        pytest.param("later", True, False, SIZE, 1, id="later, on features", marks=slow),
        pytest.param("first", True, False, (48, 96), 2, id="first, on features", marks=slow),
        pytest.param("", False, True, (64, 80), 0, id="no context", marks=slow),
    ],
)
def test_a_converted_model_gives_the_same_numbers(
    tmp_path, release, shared, crops, shape, context_size
):
    reference = Reference(release, shared, crops)
    left = slim_checkpoints.convert(**write(tmp_path, reference, shared))
    assert left == []
    trained = loading.load_run(str(tmp_path / "run"))
    assert trained.task.class_names == {1: "class 1", 2: "class 2", 3: "class 3"}
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, [1, *SIZE, 3]).astype(np.float32)
    images[:, shape[0] :], images[:, :, shape[1] :] = 0, 0
    memory = rng.normal(size=[1, ENTRIES, LENGTH]).astype(np.float32)
    boxes, scores, outside = reference.proposals(images, shape)
    assert outside > 0.3 and 5 < len(boxes) <= PROPOSALS
    model = trained.model
    shapes = np.float32([shape])
    proposals = model.look(images, shapes).proposals
    assert np.diff(scores).max() < -1e-6 and scores.max() < 0.9999
    number = len(boxes)
    np.testing.assert_array_equal(proposals.valid[0], np.arange(PROPOSALS) < number)
    np.testing.assert_allclose(proposals.boxes[0, :number], boxes, rtol=0, atol=PIXELS)
    np.testing.assert_allclose(proposals.scores[0, :number], scores, rtol=0, atol=SCORES)
    valid = np.arange(ENTRIES)[None] < context_size
    given = {"context_features": memory, "context_valid": valid} if release else None
    outputs = model(images, shapes, memory=given)
    # Of the same boxes to the last bit: whether a sample on the last cell is beyond it, and so 0,
    # is a matter of rounding, there as here.
    logits, offsets = reference.second(images, proposals.boxes[0, :number], memory, context_size)
    assert_close(outputs["class_logits"][0, :number], logits)
    found = np.reshape(outputs["box_offsets"][0], [PROPOSALS, CLASSES + 1, 4])[:number, 1:]
    assert_close(found, np.broadcast_to(offsets.reshape(number, -1, 4), found.shape))
    detections = reference.detections(boxes, logits, offsets, shape)
    number = len(detections)
    assert number > 5 and outputs["num_detections"][0] == number
    scores, classes, boxes = np.split(detections, [1, 2], axis=1)
    found = {
        name: outputs[f"detection_{name}"][0][:number] for name in ("scores", "classes", "boxes")
    }
    np.testing.assert_allclose(found["scores"], scores[:, 0], rtol=0, atol=SCORES)
    np.testing.assert_array_equal(found["classes"], classes[:, 0])
    np.testing.assert_allclose(found["boxes"], boxes, rtol=0, atol=10 * PIXELS)
    if release:
        other = model(images, shapes, memory=given | {"context_features": memory + 1.0})
        assert np.abs(other["class_logits"] - outputs["class_logits"]).max() > 0.01


@pytest.mark.whole
def test_what_does_not_fit_is_named(tmp_path):
    flags = write(tmp_path, Reference("", True))
    with pytest.raises(ValueError, match="labels.pbtxt has ids up to 2.* has 3 classes"):
        (tmp_path / "labels.pbtxt").write_text(LABELS.rpartition("item")[0])
        slim_checkpoints.convert(**flags)
    (tmp_path / "labels.pbtxt").write_text(LABELS)
    with pytest.raises(ValueError, match=r"conv1: the model has weights of .*7, 7, 3, 8"):
        slim_checkpoints.convert(**flags | {"overrides": OVERRIDES.replace("0.0625", "0.125")})
    with pytest.raises(ValueError, match="no variable FirstStageFeatureExtractor/resnet_v1_101"):
        other = "task.model.backbone.model_id=101," + OVERRIDES
        slim_checkpoints.convert(**flags | {"overrides": other})
    with pytest.raises(ValueError, match="each attention block has three projections"):
        text = (tmp_path / "pipeline.config").read_text()
        asking = CONTEXT.replace("LATER", "") + "num_classes"
        (tmp_path / "other.config").write_text(text.replace("num_classes", asking))
        slim_checkpoints.convert(**flags | {"pipeline_config": str(tmp_path / "other.config")})
    assert not (tmp_path / "run" / "params.yaml").exists()
    with pytest.raises(ValueError, match="--checkpoint .*nowhere"):
        slim_checkpoints.convert(**flags | {"checkpoint": str(tmp_path / "nowhere")})
    slim_checkpoints.convert(**flags)
    with pytest.raises(ValueError, match="there is a run in it"):
        slim_checkpoints.convert(**flags)
