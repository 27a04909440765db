"""The gradients of a large batch in the memory of a small one: its parts, one after another."""

from collections.abc import Callable, Mapping

import tensorflow as tf

Values = dict[str, tf.Tensor]
Compute = Callable[[Mapping[str, tf.Tensor]], tuple[list[tf.Tensor | None], Values]]


def in_parts(
    compute: Compute, inputs: Mapping[str, tf.Tensor], parts: int, clips: int
) -> tuple[list[tf.Tensor | None], Values]:
    """Means over the parts of a batch: what as many replicas would give together.

    Args:
        compute: gradients and values of a part.
        inputs: a batch; of all that it has, the first axis is a multiple of `clips`.
        parts: number of parts.
        clips: number of clips in the batch.

    Raises:
        ValueError: if the clips cannot be divided evenly.
    """
    if parts == 1:
        return compute(inputs)
    if parts < 1:
        raise ValueError(f"task.accumulate must be at least 1, got {parts}")
    if clips % parts:
        raise ValueError(
            f"task.accumulate is {parts}, which does not divide the {clips} clips of a replica "
            "(task.train_data.global_batch_size)"
        )

    def part(number: tf.Tensor | int) -> dict[str, tf.Tensor]:
        taken = {}
        for name, value in inputs.items():
            rows = value.shape[0] // parts
            taken[name] = tf.ensure_shape(
                value[number * rows : (number + 1) * rows], [rows, *value.shape[1:]]
            )
        return taken

    first, values = compute(part(0))
    there = [gradient is not None for gradient in first]
    sums = [tf.convert_to_tensor(gradient) for gradient in first if gradient is not None]

    def add(number: tf.Tensor, sums: list[tf.Tensor], totals: Values) -> tuple:
        gradients, values = compute(part(number))
        given = [gradient for gradient in gradients if gradient is not None]
        sums = [a + b for a, b in zip(sums, given, strict=True)]
        return number + 1, sums, {name: totals[name] + values[name] for name in totals}

    # Parts that are not behind each other could run at the same time, and take the memory of all.
    _, sums, totals = tf.while_loop(
        lambda number, *_: number < parts, add, (1, sums, values), parallel_iterations=1
    )
    means = iter([gradient / parts for gradient in sums])
    return (
        [next(means) if one else None for one in there],
        {name: total / parts for name, total in totals.items()},
    )
