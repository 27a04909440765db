"""What benchmarks share: flags, the lines they record, parts in processes of their own."""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "figures"


class Record:
    """Lines that are printed as they come and kept at the end; the first names the machine.

    Args:
        what: what is measured, and at which size.
    """

    def __init__(self, what: str):
        self.lines: list[str] = []
        machine = f"{platform.machine()}, {os.cpu_count()} processors"
        self.say(f"{machine}, Python {platform.python_version()}, {time.strftime('%F')}: {what}")

    def say(self, *lines: str) -> None:
        """Adds lines."""
        self.lines += lines
        print("\n".join(lines), flush=True)

    def keep(self, name: str) -> None:
        """Writes the lines to benchmarks/results."""
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.txt").write_text("\n".join(self.lines) + "\n")


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """A parser that shows the docstring of its module as it is written."""
    doc = doc or ""
    return argparse.ArgumentParser(
        description=doc.splitlines()[0],
        epilog=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def in_process(module: str, *flags: object) -> Any:
    """Runs a benchmark's part in a process of its own; returns the JSON in its last line."""
    command = [sys.executable, "-m", module, *map(str, flags)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])
