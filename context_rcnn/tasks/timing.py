"""Timing things against each other on a noisy machine: in turns, in one process, by medians."""

import statistics
import time
from collections.abc import Callable, Mapping


def medians(
    functions: Mapping[str, Callable[[], object]], *, rounds: int = 7, warmup: int = 1
) -> dict[str, tuple[float, float]]:
    """Returns the median seconds of each function, and half the spread of its middle half.

    The functions take turns, so that what else the machine does hits all of them alike.
    """
    if rounds < 2:
        raise ValueError(f"{rounds} round tells no spread; at least 2 are needed")
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for i in range(warmup + rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if i >= warmup:
                seconds[name].append(time.perf_counter() - start)
    result = {}
    for name, values in seconds.items():
        low, median, high = statistics.quantiles(values, n=4)
        result[name] = (median, (high - low) / 2)
    return result
