"""Which systems and Pythons can install the core and the extras, without installing anything.

    make resolve
    python tests/installs/resolve.py --python 3.12 --newest

For each system and Python it looks for a set of wheels that fits together, as the installer would
on that system: markers are evaluated for it, and nothing is built from source. This is done by uv
(`pip install uv`), because `pip install --dry-run --platform` evaluates markers, those of
dependencies too, for the machine that it runs on.

By default versions are those of constraints.txt. With --newest they are the newest that fit, which
is what `pip install context-rcnn` gives. The list of `tpu/install.sh` is resolved too. Returns 1 if
something does not resolve that should.
"""

import argparse
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
# Our names of systems, and uv's. The last is the one that TPU machines have.
SYSTEMS = {
    "Windows": "x86_64-pc-windows-msvc",
    "macOS, Apple": "aarch64-apple-darwin",
    "macOS, Intel": "x86_64-apple-darwin",
    "Linux": "x86_64-manylinux_2_28",
    "Linux, ARM": "aarch64-manylinux_2_28",
    "Ubuntu 22.04": "x86_64-manylinux_2_35",
}
# What is asked for, and the systems that have it; docs/install.md says why the others do not.
_ALL = {"Windows", "macOS, Apple", "Linux", "Linux, ARM", "Ubuntu 22.04"}
TARGETS = {
    "core": _ALL,
    "[beam]": _ALL,
    "[train,beam]": _ALL - {"Windows"},
    "[all]": _ALL - {"Windows"},
    "[gpu]": _ALL - {"Windows", "macOS, Apple"},
    "[tpu]": {"Ubuntu 22.04"},
}
# Packages of [train] that have no wheels at all. They are Python alone, and build anywhere.
SOURCE_ALONE = {"seqeval", "promise"}


def resolve(extra: str, system: str, python: str, *options: str) -> tuple[int, str]:
    """Resolves the core, `[extras]` or `[tpu]` for a system.

    Returns:
        The number of packages, 0 if there is none for it; and then the reason.
    """
    if extra == "[tpu]":
        listed = subprocess.run(
            ["bash", ROOT / "tpu/install.sh", "--list"], capture_output=True, text=True, check=True
        ).stdout
        found, complaint = _compile("-", system, python, "--no-deps", given=listed)
    else:
        names = extra.strip("[]").split(",") if extra != "core" else []
        wanted = [f"--extra={name}" for name in names]
        found, complaint = _compile("setup.py", system, python, *wanted, *options)
    if complaint:
        return 0, complaint
    wheels = [line for line in found if line.partition("==")[0] not in SOURCE_ALONE]
    _, complaint = _compile(
        "-", system, python, "--no-deps", "--only-binary=:all:", given="\n".join(wheels)
    )
    return (0, complaint) if complaint else (len(found), "")


def _compile(
    source: str, system: str, python: str, *options: str, given: str = ""
) -> tuple[list[str], str]:
    """Pins of a set of packages that fits together, or why there is none."""
    uv = pathlib.Path(sys.executable).with_name("uv")
    command = [str(uv) if uv.exists() else "uv", "pip", "compile", source, "--quiet"]
    command += ["--no-header", "--no-annotate", "--strip-extras", f"--python-version={python}"]
    command += [f"--python-platform={SYSTEMS[system]}", *options]
    done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True)
    if done.returncode:
        return [], _reason(done.stderr)
    return [line for line in done.stdout.splitlines() if "==" in line], ""


def _reason(complaint: str) -> str:
    """The part of a complaint that names the package which is not there."""
    text = " ".join(complaint.split())
    missing = re.search(r"([\w.-]+)[=<>,.\w]* has no (usable )?wheels", text)
    return f"{missing.group(1)} has no wheels" if missing else text


def main(argv: list[str] | None = None) -> int:
    """Prints a table. Returns 1 if something does not resolve that should, or the reverse."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--newest", action="store_true", help="without constraints.txt")
    parser.add_argument("--python", action="append", choices=PYTHONS, help="(default: all)")
    parser.add_argument("--system", action="append", choices=SYSTEMS, help="(default: all)")
    parser.add_argument("--target", action="append", choices=TARGETS, help="(default: all)")
    args = parser.parse_args(argv)
    options = [] if args.newest else ["--constraint=constraints.txt"]
    pythons = args.python or PYTHONS
    surprises, reasons = [], {}
    print(f"{'':14} {'':14}" + "".join(f"{python:>8}" for python in pythons))
    for target in args.target or TARGETS:
        for system in args.system or SYSTEMS:
            cells = []
            for python in pythons:
                count, complaint = resolve(target, system, python, *options)
                cells.append(str(count or "-"))
                if complaint:
                    reasons.setdefault(complaint, []).append(f"{target} {system} {python}")
                if bool(count) != (system in TARGETS[target]):
                    surprises.append(f"{target} {system} {python}: {complaint or 'resolves'}")
            print(f"{target:14} {system:14}" + "".join(f"{cell:>8}" for cell in cells), flush=True)
    print("\nNumbers count packages. Not to be had (-):")
    for complaint, places in reasons.items():
        print(f"  {complaint}: {'; '.join(places)}")
    for surprise in surprises:
        print(f"UNEXPECTED: {surprise}")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
