r"""Joining a window of a memory bank, next to plainly copying as many bytes.

    python -m benchmarks.memory_join

A bank of one camera, 12,000 entries of depth 2048; windows of 2,000 and 8,500 entries, as float32
rows of 2057. `in memory` keeps cameras as float32, as the join does while there is room (1 GiB by
default); `mapped` converts from the file each time. At 2 two joins run at once, as in tf.data, next
to two copies.
Writes what it prints to benchmarks/results/memory_join.txt.
"""

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import context_rcnn  # noqa: F401
from benchmarks.record import Record
from context_rcnn.tasks.timing import medians

ENTRIES, DEPTH, INTERVAL = 12_000, 2048, 200


def write_bank(folder: str, dtype: str) -> None:
    """One camera, an image every `INTERVAL` seconds."""
    from context_rcnn.memory_bank.entries import Entries
    from context_rcnn.memory_bank.manifest import BankInfo
    from context_rcnn.memory_bank.writer import BankWriter

    rng = np.random.default_rng(0)
    with BankWriter(folder, BankInfo("benchmark", "detections", DEPTH, dtype), 1) as writer:
        entries = Entries.make(
            image_ids=[f"im{i:06}" for i in range(ENTRIES)],
            seconds=[1_500_000_000 + INTERVAL * i for i in range(ENTRIES)],
            boxes=np.tile(np.float32([0.1, 0.2, 0.5, 0.6]), (ENTRIES, 1)),
            features=rng.random((ENTRIES, DEPTH), np.float32),
        )
        writer.add("camera", entries)


def main() -> None:
    from context_rcnn.memory_bank.join import MemoryJoin
    from context_rcnn.memory_bank.window import WindowOptions

    record = Record(f"features of {DEPTH}")
    record.say("dtype     window kept       at once       ms     +-  copy ms  share")
    pool = ThreadPoolExecutor(2)

    def twice(function):
        return lambda: list(pool.map(lambda call: call(), [function, function]))

    middle = 1_500_000_000 + INTERVAL * ENTRIES // 2
    for dtype in ("float16", "bfloat16", "float32", "int8"):
        with tempfile.TemporaryDirectory() as folder:
            write_bank(folder, dtype)
            for rows in (2000, 8500):
                source = np.random.default_rng(1).random((rows, DEPTH + 9), np.float32)
                targets = threading.local()

                def copy(source=source, targets=targets):
                    if not hasattr(targets, "array"):
                        targets.array = np.empty_like(source)
                    np.copyto(targets.array, source)

                joins = {
                    "in memory": MemoryJoin(folder, WindowOptions("month"), max_entries=rows),
                    "mapped": MemoryJoin(
                        folder, WindowOptions("month"), max_entries=rows, cache_bytes=0
                    ),
                }
                functions = {
                    name: lambda join=join: join.read("camera", middle, "keyframe")
                    for name, join in joins.items()
                } | {"copy": copy}
                for at_once in (1, 2):
                    if at_once == 2:
                        functions = {name: twice(call) for name, call in functions.items()}
                    times = medians(functions, rounds=31, warmup=5)
                    base = times["copy"][0]
                    for name in joins:
                        median, spread = times[name]
                        record.say(
                            f"{dtype:9} {rows:6} {name:10} {at_once:7} {1e3 * median:8.2f} "
                            f"{1e3 * spread:6.2f} {1e3 * base:8.2f} {base / median:6.2f}"
                        )
    record.keep("memory_join")


if __name__ == "__main__":
    main()
