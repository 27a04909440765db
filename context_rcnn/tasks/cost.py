"""What a model costs for each image or frame: counted in its graph, and measured if asked for.

`context-rcnn cost` counts the multiply-adds of convolutions and matrix products in the graph of one
evaluation step, for each image or frame that it answers, so whatever the settings say is counted:
frames, boxes, layers, image size. Where a memory sees more than that, such as a frame from
elsewhere in the video, it is part of it. Pooling, sorting and suppression have no such products.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.detectors import freezing
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.tasks.task import task_class
from context_rcnn.tasks.timing import medians

CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative")
# What a convolution gives back to its input, as a transposed one computes it, and to its filter.
TO_INPUT = ("Conv2DBackpropInput", "Conv3DBackpropInputV2", "DepthwiseConv2dNativeBackpropInput")
TO_FILTER = (
    "Conv2DBackpropFilter",
    "Conv3DBackpropFilterV2",
    "DepthwiseConv2dNativeBackpropFilter",
)
OTHER = "other"
GROUP = re.compile(r"(conv|res)\d")  # parts of a backbone, which are in `backbone` too


class Cost(NamedTuple):
    """What an evaluation step costs.

    Attributes:
        products: number of multiply-adds for each image that it answers, by part of the model.
        weights: number of weights.
        images: number of images that it answers together, as a clip.
        largest: bytes of the largest tensor in between.
        state: bytes that a video's state takes from frame to frame; None where nothing is kept.
        step: runs the step once, on made-up images.
    """

    products: dict[str, int]
    weights: int
    images: int
    largest: int
    state: int | None
    step: Callable[[], object]


def multiply_adds(op: tf.Operation) -> int:
    """Number of multiply-adds of an operation whose shapes are known; 0 for one without products.

    That is the number of outputs, times the terms of each.
    """
    if op.type in CONVOLUTIONS + TO_INPUT + TO_FILTER:
        # A depthwise filter has the number of outputs for each channel where others have outputs.
        terms = 2 if op.type.startswith("Depthwise") else -1
        filters = op.outputs[0] if op.type in TO_FILTER else op.inputs[1]
        outputs = op.outputs[0] if op.type in CONVOLUTIONS else op.inputs[2]
        return math.prod(outputs.shape) * math.prod(filters.shape[:terms])
    if op.type in ("MatMul", "BatchMatMulV2", "BatchMatMulV3"):
        transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        return math.prod(op.outputs[0].shape) * op.inputs[0].shape[-2 if transposed else -1]
    if op.type == "Einsum":
        return _of_einsum(op.get_attr("equation").decode(), [x.shape for x in op.inputs])
    return 0


def _of_einsum(equation: str, shapes: Sequence[tf.TensorShape]) -> int:
    """The product of the sizes of all indices; those of an ellipsis are counted from its end.

    A size that one input does not tell is taken from another one with the same index.
    """
    found: dict[str | int, set[int | None]] = {}
    for indices, shape in zip(equation.split("->")[0].split(","), shapes, strict=True):
        before, _, after = indices.partition("...")
        names = [*before, *range(len(before) + len(after) - len(shape), 0), *after]
        for name, size in zip(names, shape, strict=True):
            found.setdefault(name, set()).add(size)
    sizes = [_size(name, told) for name, told in found.items()]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) and 0 not in known:
        raise ValueError(f"the shapes {list(shapes)} of {equation} are not known")
    return math.prod(known)


def _size(name: str | int, told: set[int | None]) -> int | None:
    """The size of an index by what inputs tell; 1 tells nothing where an ellipsis broadcasts."""
    if isinstance(name, int) and len(told) > 1:
        told = told - {1}
    return next((size for size in told if size is not None), None)


def _names_of_parts(model: tf_keras.Model) -> dict[str, str]:
    """The part that each layer of a detector belongs to, by the layer's name."""
    if not isinstance(model, TwoStageDetector):
        return {}
    names: dict[str, str] = {}
    for part, layers in freezing.parts_of(model).items():
        if not GROUP.match(part):
            names |= {layer.name: part for layer in layers}
    for port in (model.map_memory, model.box_memory):
        names |= {layer.name: "memory" for layer in port.submodules if hasattr(layer, "call")}
    return names


def products_of(graph: tf.Graph, parts: Mapping[str, str]) -> dict[str, int]:
    """Number of multiply-adds in a graph, by part.

    Args:
        graph: graph whose shapes are known.
        parts: the part that each layer belongs to, by its name; what is in none is `OTHER`.
    """
    found: Counter[str] = Counter()
    for op in graph.get_operations():
        if count := multiply_adds(op):
            inside = [parts[name] for name in op.name.split("/") if name in parts]
            found[inside[0] if inside else OTHER] += count
    return dict(found)


def cost_of(config, num_classes: int) -> Cost:
    """Counts what an evaluation step of one clip, or of one frame of a video, costs.

    Args:
        config: settings of an experiment.
        num_classes: number of classes of the model.
    """
    params = config.task.replace(validation_data={"global_batch_size": 1})
    task = task_class(params).without_data(params, num_classes)
    model = task.build_model()
    inputs = task.dummy_evaluation_inputs(1)
    task.start_evaluation(model)
    graph = graph_of(lambda: task.validation_step(inputs, model))
    tensors = [tensor for op in graph.get_operations() for tensor in op.outputs]
    step = tf.function(lambda: task.validation_step(inputs, model), autograph=False)
    images = inputs["valid"].shape[0]
    products = products_of(graph, _names_of_parts(model))
    return Cost(
        {part: count // images for part, count in products.items()},
        sum(math.prod(weight.shape) for weight in model.trainable_variables),
        images,
        max(_bytes_of(tensor) for tensor in tensors if tensor.shape.is_fully_defined()),
        _state_of(task),
        step,
    )


def graph_of(step: Callable[[], object]) -> tf.Graph:
    """The graph of a step, with the functions within as a part of it."""
    graph = tf.__internal__.FuncGraph("cost")
    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        with graph.as_default():
            step()
    finally:
        tf.config.run_functions_eagerly(eagerly)
    return graph


def _bytes_of(tensor: tf.Tensor) -> int:
    return tensor.dtype.size * math.prod(tensor.shape)


def _state_of(task) -> int | None:
    """Bytes of the state of one video, of a task that evaluates videos frame by frame."""
    if not hasattr(task, "evaluation_window") or task.evaluation_window() is not None:
        return None
    return sum(map(_bytes_of, task.stream().initial_state(1).values()))


def without_memory(config):
    """The same settings without a memory; None where there is none to be without."""
    temporal = getattr(config.task, "temporal", None)
    if temporal is None or temporal.type == configs.Temporal().type:
        return None
    return config.replace(task={"temporal": {"type": configs.Temporal().type}})


def compare(config, num_classes: int, rounds: int = 0) -> dict:
    """What a model costs, next to the same detector without a memory.

    Args:
        config: settings of an experiment.
        num_classes: number of classes of the model.
        rounds: how often each is timed, in turns; 0 to count alone.

    Returns:
        `model` and, where it has a memory, `without_memory`: each a dictionary of `products`
        by part for each image, `weights`, `images` that a step answers together, `largest_bytes`,
        `state_bytes` and, if timed, `seconds` and `spread` for each image.
    """
    costs = {"model": cost_of(config, num_classes)}
    alone = without_memory(config)
    if alone is not None:
        costs["without_memory"] = cost_of(alone, num_classes)
    steps = {name: _run(cost.step) for name, cost in costs.items()}
    times = medians(steps, rounds=rounds, warmup=2) if rounds else {}
    found = {}
    for name, cost in costs.items():
        found[name] = {
            "products": cost.products,
            "weights": cost.weights,
            "images": cost.images,
            "largest_bytes": cost.largest,
            "state_bytes": cost.state,
        }
        if name in times:
            found[name] |= {
                key: value / cost.images
                for key, value in zip(("seconds", "spread"), times[name], strict=True)
            }
    return found


def _run(step: Callable[[], object]) -> Callable[[], object]:
    """The step, until its results are there."""
    return lambda: [value.numpy() for value in tf.nest.flatten(step())]
