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
import ast
import pathlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

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
# What is asked for where, and if it can be had there; docs/install.md says why it cannot.
_LINUX = {"Linux": True, "Linux, ARM": True}
_UNIX = {"macOS, Apple": True, **_LINUX}
TARGETS = {
    "core": {"Windows": True, "macOS, Intel": False, **_UNIX},
    "[beam]": {"Windows": True, **_UNIX},
    "[train,beam]": {"Windows": False, **_UNIX},
    "[all]": {"Windows": False, **_UNIX},
    "[gpu]": {"Windows": False, "macOS, Apple": False, **_LINUX},
    "[tpu]": {"Ubuntu 22.04": True},
}
# Packages of [train] that have no wheels at all. They are Python alone, and build anywhere.
SOURCE_ALONE = {"seqeval", "promise"}


def resolve(extra: str, system: str, python: str, *options: str) -> tuple[int, str]:
    """Resolves the core, `[extras]` or `[tpu]` for a system.

    Returns:
        The number of packages, 0 if there is none for it; and then the reason.
    """
    if extra == "[tpu]":
        command = ["bash", ROOT / "tpu/install.sh", "--list"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found, complaint = _compile(listed.splitlines(), system, python, "--no-deps")
    else:
        found, complaint = _compile(requirements(extra), system, python, *options)
    if complaint:
        return 0, complaint
    wheels = [line for line in found if line.partition("==")[0] not in SOURCE_ALONE]
    _, complaint = _compile(wheels, system, python, "--no-deps", "--only-binary=:all:")
    return (0, complaint) if complaint else (len(found), "")


def requirements(extra: str) -> list[str]:
    """The lines of setup.py for the core or `[extras]`, read without running it."""
    tables = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "setup.py").read_text()).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("CORE", "EXTRAS")
    }
    extras = tables["EXTRAS"]
    names = extra.strip("[]").split(",") if extra != "core" else []
    if names == ["all"]:
        names = [name for name in extras if name != "gpu"]
    return tables["CORE"] + [line for name in names for line in extras[name]]


def _compile(lines: list[str], system: str, python: str, *options: str) -> tuple[list[str], str]:
    """Pins of a set of packages that fits together, or why there is none."""
    uv = pathlib.Path(sys.executable).with_name("uv")
    command = [str(uv) if uv.exists() else "uv", "pip", "compile", "-", "--quiet"]
    command += ["--no-header", "--no-annotate", "--strip-extras", f"--python-version={python}"]
    command += [f"--python-platform={SYSTEMS[system]}", *options]
    given = "\n".join(lines)
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
    parser.add_argument("--target", action="append", choices=TARGETS, help="(default: all)")
    args = parser.parse_args(argv)
    options = [] if args.newest else ["--constraint=constraints.txt"]
    pythons = args.python or PYTHONS
    surprises, reasons = [], {}
    print(f"{'':14} {'':14}" + "".join(f"{python:>8}" for python in pythons))
    for target, system in ((t, s) for t in args.target or TARGETS for s in TARGETS[t]):
        with ThreadPoolExecutor() as pool:  # they wait for the index most of the time
            asked = [pool.submit(resolve, target, system, v, *options) for v in pythons]
        row = ""
        for python, answer in zip(pythons, asked, strict=True):
            count, complaint = answer.result()
            row += f"{count or '-':>8}"
            if complaint:
                reasons.setdefault(f"{target}, {system}: {complaint}", []).append(python)
            if bool(count) != TARGETS[target][system]:
                surprises.append(f"{target}, {system}, {python}: {complaint or 'resolves'}")
        print(f"{target:14} {system:14}{row}", flush=True)
    print("\nNumbers count packages. Not to be had (-):")
    for complaint, found in reasons.items():
        print(f"  {complaint} ({', '.join(found)})")
    for surprise in surprises:
        print(f"UNEXPECTED: {surprise}")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
