"""An exported model as the Object Detection API's users know it: inputs, side inputs, outputs."""

import tensorflow as tf

from context_rcnn.data import examples
from context_rcnn.detectors.two_stage import Answer, TwoStageDetector, find_origin
from context_rcnn.memory_bank import api_compat

INPUT_TYPES = {
    "image_tensor": tf.TensorSpec([None, None, None, 3], tf.uint8, "input_tensor"),
    "float_image_tensor": tf.TensorSpec([None, None, None, 3], tf.float32, "input_tensor"),
    "encoded_image_string_tensor": tf.TensorSpec([None], tf.string, "input_tensor"),
    "tf_example": tf.TensorSpec([None], tf.string, "input_tensor"),
}
# The side inputs of its Context R-CNN: type, and the words for it that --side_input_types takes.
SIDE_INPUTS = {
    "context_features": (tf.float32, ("float", "float32", "tf.float32")),
    "valid_context_size": (tf.int32, ("int", "integer", "int32", "tf.int32")),
}

Shape = tuple[int | None, ...]


def side_input_specs(
    entry_size: int, shapes: str = "", types: str = "", names: str = ""
) -> list[tf.TensorSpec]:
    """Specs of `context_features` and `valid_context_size`.

    Args:
        entry_size: length of the entries that the model attends to.
        shapes: as --side_input_shapes has them, `1,2000,2057/1`; -1 is any size, and so is
            everything where nothing is given.
        types: `float,int`.
        names: `context_features,valid_context_size`, the order of shapes and types.

    Raises:
        ValueError: names the flag, what was expected and what was given.
    """
    order = _words(names) or list(SIDE_INPUTS)
    if sorted(order) != sorted(SIDE_INPUTS):
        raise ValueError(
            f"--side_input_names: expected {','.join(SIDE_INPUTS)} in any order, got {names!r}"
        )
    given = dict(zip(order, _words(types), strict=False)) if types else {}
    if types and len(_words(types)) != len(order):
        raise ValueError(f"--side_input_types: expected {len(order)} types, got {types!r}")
    for name, word in given.items():
        dtype, words = SIDE_INPUTS[name]
        if word not in words:
            raise ValueError(
                f"--side_input_types: {name} is {dtype.name} ({', '.join(words)}), got {word!r}"
            )
    expected = {"context_features": (None, None, entry_size), "valid_context_size": (None,)}
    if shapes:
        parts = shapes.split("/")
        if len(parts) != len(order):
            raise ValueError(
                f"--side_input_shapes: expected a shape for each of {','.join(order)}, separated "
                f"by /, got {shapes!r}"
            )
        for name, part in zip(order, parts, strict=True):
            expected[name] = _fixed(name, _shape(part, shapes), expected[name])
    return [tf.TensorSpec(expected[name], dtype, name) for name, (dtype, _) in SIDE_INPUTS.items()]


def parse_examples(serialized: tf.Tensor, entry_size: int) -> tuple[tf.Tensor, ...]:
    """Serialized tf.Examples [n], with a bank copied into them or without.

    Returns:
        Encoded images [n]; and, unless `entry_size` is 0, `context_features` [n, entries,
        entry_size] and `valid_context_size` [n].
    """
    spec = {examples.ENCODED: tf.io.FixedLenFeature([], tf.string)}
    if not entry_size:
        return (tf.io.parse_example(serialized, spec)[examples.ENCODED],)
    spec |= {
        api_compat.CONTEXT: tf.io.RaggedFeature(tf.float32),
        api_compat.CONTEXT_LENGTH: tf.io.FixedLenFeature([], tf.int64, 0),
    }
    parsed = tf.io.parse_example(serialized, spec)
    floats, length = parsed[api_compat.CONTEXT], parsed[api_compat.CONTEXT_LENGTH]
    count = tf.cast(floats.row_lengths(), tf.int32)
    fits = (count == 0) | ((length == entry_size) & (count % entry_size == 0))
    message = f"{api_compat.CONTEXT}: expected entries of length {entry_size}; floats, length:"
    check = tf.debugging.Assert(tf.reduce_all(fits), [message, count, length])
    with tf.control_dependencies([check]):
        features = tf.identity(floats.to_tensor())
    features = tf.reshape(features, [tf.shape(count)[0], -1, entry_size])
    return parsed[examples.ENCODED], features, count // entry_size


def api_detections(
    detector: TwoStageDetector, answer: Answer, shapes: tf.Tensor
) -> dict[str, tf.Tensor]:
    """The outputs of the API's exported models: all float32, boxes as fractions of the image.

    Rows past `num_detections` have score 0 and class 1, as there. `raw_...` is what there is before
    suppression: the proposals with the box of their best class.

    Args:
        detector: the detector that has answered.
        answer: boxes in pixels.
        shapes: [images, 2], height and width in pixels.
    """
    found, proposals, logits = answer.detections, answer.proposals, answer.logits
    scale = tf.tile(shapes, [1, 2])[:, None]
    valid = proposals.valid[..., None]
    scores = tf.where(valid, tf.nn.softmax(logits), 0.0)
    origin = find_origin(answer)
    best = tf.argmax(logits[..., 1:], axis=-1)
    boxes = detector.class_boxes(answer.offsets, proposals, logits.shape[-1] - 1)
    raw = tf.gather(boxes, best, batch_dims=2)
    outputs = {
        "detection_boxes": found["detection_boxes"] / scale,
        "detection_scores": tf.maximum(found["detection_scores"], 0.0),
        "detection_classes": tf.maximum(found["detection_classes"], 1),
        "num_detections": found["num_detections"],
        "detection_anchor_indices": origin,
        "detection_multiclass_scores": tf.gather(scores, origin, batch_dims=1),
        "raw_detection_boxes": tf.where(valid, raw / scale, 0.0),
        "raw_detection_scores": scores,
    }
    return {name: tf.cast(value, tf.float32) for name, value in outputs.items()}


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")] if text else []


def _shape(part: str, shapes: str) -> Shape:
    try:
        sizes = [int(size) for size in part.split(",")]
    except ValueError:
        sizes = [0]
    if any(size < 1 and size != -1 for size in sizes):
        raise ValueError(
            f"--side_input_shapes: expected whole numbers like 1,2000,2057/1, -1 where any size "
            f"will do, got {shapes!r}"
        )
    return tuple(None if size == -1 else size for size in sizes)


def _fixed(name: str, given: Shape, expected: Shape) -> Shape:
    """The shape that is given, if it is one that `name` can have."""
    fits = len(given) == len(expected) and all(
        None in pair or pair[0] == pair[1] for pair in zip(given, expected, strict=True)
    )
    if not fits:
        raise ValueError(
            f"--side_input_shapes: {name} is {_text(expected)} for this model (-1 is any size), "
            f"got {_text(given)}"
        )
    return tuple(a if b is None else b for a, b in zip(given, expected, strict=True))


def _text(shape: Shape) -> str:
    return ",".join("-1" if size is None else str(size) for size in shape)
