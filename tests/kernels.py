"""Runs numeric tests again as other processors would compute them; see CONTRIBUTING.md.

    python -m tests.kernels                                # models, layers, detectors, memory banks
    python -m tests.kernels tests/export -k batch          # any arguments of pytest
    python -m tests.kernels --only="oneDNN, AVX2" tests/models

oneDNN, XLA, NumPy and OpenBLAS choose their kernels by the processor and the number of threads,
and each kernel adds its terms in another order. One line says what became of each variation; the
output of those that fail follows. The exit status is 1 if any did.
"""

import argparse
import os
import subprocess
import sys
import time

FOLDERS = ["tests/models", "tests/layers", "tests/detectors", "tests/memory_bank"]


def threads(count: int) -> dict[str, str]:
    """Settings that bound the threads of one operation and of several side by side."""
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return dict.fromkeys((*names, "OPENBLAS_NUM_THREADS"), str(count))


VARIATIONS: dict[str, dict[str, str]] = {
    "as this machine computes": {},
    "without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "oneDNN, SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "oneDNN, AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "all, AVX2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    },
    "one thread": threads(1),
    "four threads": threads(4),
}
"""Environment variables by the name of the variation."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=VARIATIONS,
        help="name of a variation to run; may be repeated (default: all)",
    )
    args, rest = parser.parse_known_args(argv)
    if not any(os.path.exists(arg.partition("::")[0]) for arg in rest):
        rest = [*FOLDERS, *rest]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *rest]
    failed = []
    for name in args.only or VARIATIONS:
        start = time.monotonic()
        environment = {**os.environ, **VARIATIONS[name]}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        summary = (done.stdout.strip().splitlines() or ["no output"])[-1]
        verdict = "FAIL" if done.returncode else "pass"
        print(f"{verdict}  {name:26} {time.monotonic() - start:5.0f} s  {summary}", flush=True)
        if done.returncode:
            failed.append((name, done.stdout + done.stderr))
    for name, output in failed:
        print(f"\n=== {name}\n{output[-8000:]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
