"""Runs the work on many cameras, in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, Protocol

# Called with a camera that is done, the frames done so far, and the frames there will be.
Progress = Callable[[str, int, int], None]


class Job(Protocol):
    """The work on one camera; picklable."""

    @property
    def name(self) -> str: ...

    @property
    def frames(self) -> int: ...

    def __call__(self) -> Any: ...


def run_jobs(jobs: Sequence[Job], workers: int, progress: Progress | None) -> list[Any]:
    """Runs one job a camera, in `workers` processes, and returns their results in order."""
    total = sum(job.frames for job in jobs)
    results: list[Any] = [None] * len(jobs)
    done = 0

    def finish(index: int, result: Any) -> None:
        nonlocal done
        results[index] = result
        done += jobs[index].frames
        if progress:
            progress(jobs[index].name, done, total)

    if workers == 1:
        for index, job in enumerate(jobs):
            finish(index, job())
        return results
    # A fresh interpreter for each worker: a forked one may inherit locks of TensorFlow's threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(job): index for index, job in enumerate(jobs)}
        for future in as_completed(futures):
            finish(futures[future], future.result())
    return results
