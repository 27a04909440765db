"""Work done in threads, a bounded number of items ahead of where it is used."""

import collections
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    function: Callable[[T], R], items: Iterable[T], workers: int, most: int = 0
) -> Generator[R, None, None]:
    """Like `map`, in the same order.

    Threads are enough to read and decode images: both let other threads run meanwhile.

    Args:
        function: function of an item; an exception is raised where its result would be.
        items: taken in the thread of the caller.
        workers: threads.
        most: items that are worked on or wait for their turn; 0 for four a thread.
    """
    most = most or 4 * workers
    waiting: collections.deque = collections.deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
