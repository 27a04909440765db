r"""Every study, one after the other: all tables of the docs on simulated data.

    python -m benchmarks.studies --output_dir=studies
    python -m benchmarks.studies --output_dir=studies --only=mega,stmn --seeds=1

What is finished is not run again: give the same command after a crash or a pause. --dry_run shows
the commands. A study that fails is named, and the others still run.
"""

import pathlib
import shlex
import subprocess
import sys

from benchmarks.record import parser_of
from benchmarks.studies.study import ROOT

STUDIES = {
    "table1": "Context R-CNN's Table 1, on cameras and traffic",
    "mega": "MEGA's Tables 3 to 5",
    "stmn": "STMN's tables and windows",
    "memory_warps": "Memory Warps' tables, and its flow network",
    "psta": "PSTA's Tables 1 and 2",
    "memory_head": "what a memory adds to the boxes of another detector",
}


def commands(output_dir: pathlib.Path, names: list[str], seeds: int, write_docs: bool) -> dict:
    """The command of each study."""
    flags = [f"--seeds={seeds}", *(["--write_docs"] if write_docs else [])]
    module = "benchmarks.studies."
    return {
        name: [sys.executable, "-m", module + name, f"--output_dir={output_dir / name}", *flags]
        for name in names
    }


def main() -> None:
    width = max(map(len, STUDIES))
    known = "\n".join(f"  {name:{width}}  {what}" for name, what in STUDIES.items())
    parser = parser_of(f"{__doc__}\nstudies:\n{known}")
    parser.add_argument(
        "--output_dir", type=pathlib.Path, required=True, help="folder of all studies"
    )
    parser.add_argument(
        "--only", default=",".join(STUDIES), help="names of studies, separated by commas"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    parser.add_argument("--write_docs", action="store_true", help="put the tables in the docs")
    parser.add_argument("--dry_run", action="store_true", help="show the commands, and run none")
    args = parser.parse_args()
    names = [name for name in args.only.split(",") if name]
    if unknown := set(names) - set(STUDIES):
        parser.error(f"--only: no such study: {', '.join(sorted(unknown))}")
    failed = []
    chosen = commands(args.output_dir.resolve(), names, args.seeds, args.write_docs)
    for name, command in chosen.items():
        print(f"$ {shlex.join(command)}", flush=True)
        if not args.dry_run and subprocess.run(command, cwd=ROOT).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
