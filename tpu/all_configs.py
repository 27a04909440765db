"""What XLA makes of every file of configs/: whether its steps compile, their memory and FLOPs.

A file says in its head with which command it is used. `compile_check --all` takes the settings from
that command, and compiles what the command runs: a training step and inference, or inference alone
for a row that is only evaluated. Each compiles in a process of its own, since XLA keeps what it
made until a process ends. Files that differ in paths and in how results are judged alone share a
result.
"""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
COMMAND = "context-rcnn train "
# Compiled code is not run, so LLVM need not try hard. The plan of the memory is made before.
QUICKLY = "--xla_backend_optimization_level=0"
PATHS = ("input_path", "init_checkpoint", "bank", "features")


class Command(NamedTuple):
    """How a file of configs/ is used.

    Attributes:
        experiment: name of an experiment; "" where a file has it.
        files: files of settings, the last over the first.
        override: settings over these.
        steps: what it runs of a training step and inference.
    """

    experiment: str
    files: tuple[str, ...]
    override: str
    steps: tuple[str, ...]


def command_of(path: Path) -> Command | None:
    """The first command in the head of a file that uses it; None where there is none."""
    head = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
    lines = "\n".join(head).replace("\\\n", " ").splitlines()
    commands = [_parsed(line) for line in lines if line.startswith(COMMAND)]
    its_own = [c for c in commands if str(path.relative_to(ROOT)) in c.files]
    return next(iter(its_own), None)


def _parsed(line: str) -> Command:
    flags = dict.fromkeys(("mode", "params_override", "experiment"), "")
    files = []
    for word in shlex.split(line):
        name, _, value = word.removeprefix("--").partition("=")
        if name in ("pipeline_config_path", "config_file"):
            files.append(value)
        elif name in flags:
            flags[name] = value
    steps = ("inference",) if flags["mode"] == "eval" else ("training", "inference")
    return Command(flags["experiment"], tuple(files), flags["params_override"], steps)


def settings_of(command: Command):
    """The settings that a command runs with."""
    from context_rcnn.configs import schema

    files = [str(ROOT / name) for name in command.files]
    return schema.load_experiment(command.experiment, files, command.override)


def program_of(command: Command) -> str:
    """A name of what is compiled, the same for commands whose programs are the same."""
    task = settings_of(command).task.as_dict()
    named = json.dumps([_without_paths(task), command.steps], sort_keys=True, default=str)
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def _without_paths(settings):
    if not isinstance(settings, dict):
        return settings
    kept = {k: _without_paths(v) for k, v in settings.items() if k not in PATHS}
    kept.pop("evaluation", None)
    return kept


def run(output: str, only: str, batch_size: int, num_classes: int) -> int:
    """Compiles every file, and prints a table of what was found.

    Args:
        output: JSON file of what was found, which is gone on with if it exists.
        only: text in the path of the files to compile; "" for all.
        batch_size: number of images or clips of a step.
        num_classes: number of classes of the models.

    Returns:
        1 if a step does not compile, else 0.
    """
    paths = sorted(p for p in CONFIGS.rglob("*.yaml") if only in str(p.relative_to(CONFIGS)))
    commands = {path: command_of(path) for path in paths}
    found = json.loads(Path(output).read_text()) if os.path.exists(output) else {}
    rows: dict[str, dict] = {}
    for number, (path, command) in enumerate(commands.items(), 1):
        name = str(path.relative_to(CONFIGS).with_suffix(""))
        if command is None:
            print(f"{number}/{len(commands)} {name}: names no command, left out", flush=True)
            continue
        key = f"{program_of(command)} of {batch_size} with {num_classes} classes"
        if key not in found:
            print(f"{number}/{len(commands)} {name} ...", end=" ", flush=True)
            start = time.monotonic()
            found[key] = _compile(command, batch_size, num_classes)
            print(f"{time.monotonic() - start:.0f} s", flush=True)
            Path(f"{output}.partial").write_text(json.dumps(found, indent=1))
            os.replace(f"{output}.partial", output)
        rows[name] = found[key]
    print("\n" + as_table(rows))
    failed = [name for name, steps in rows.items() if any("error" in s for s in steps.values())]
    absent = [name for name, steps in rows.items() if any("needs" in s for s in steps.values())]
    print(f"\n{len(rows) - len(failed) - len(absent)} of {len(rows)} files compile.")
    for why, names in (("do not", failed), ("need a run that is not here", absent)):
        if names:
            print(f"{len(names)} {why}: {', '.join(names)}")
    return int(bool(failed))


def _compile(command: Command, batch_size: int, num_classes: int) -> dict[str, dict]:
    with tempfile.TemporaryDirectory() as folder:
        json_file = os.path.join(folder, "found.json")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tpu.compile_check", "--compile_only"),
                f"--experiment={command.experiment}",
                *(f"--config_file={name}" for name in command.files),
                f"--params_override={command.override}",
                f"--steps={','.join(command.steps)}",
                f"--batch_size={batch_size}",
                f"--num_classes={num_classes}",
                f"--json={json_file}",
            ],
            cwd=ROOT,
            env={**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {QUICKLY}"},
            capture_output=True,
            text=True,
        )
        if os.path.exists(json_file):
            return json.loads(Path(json_file).read_text())
    last = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
    why = f"ended with signal {-done.returncode}" if done.returncode < 0 else last
    return {step: {"error": why} for step in command.steps}


def as_table(rows: dict[str, dict]) -> str:
    """Rows of Markdown: each file's memory in GiB and GFLOPs of a step, or why there is none."""
    lines = [
        "| configs/ | training, GiB | training, GFLOP | inference, GiB | inference, GFLOP |",
        "|---|---|---|---|---|",
    ]
    for name, steps in rows.items():
        cells = []
        for step in ("training", "inference"):
            result = steps.get(step)
            if result is None:
                cells += ["", ""]
            elif "error" in result:
                cells += [f"does not compile: {result['error']}", ""]
            elif "needs" in result:
                cells += ["needs another run", ""]
            else:
                cells.append(_rounded(result["bytes"] / 2**30) if "bytes" in result else "?")
                cells.append(_rounded(2 * result["multiply_adds"] / 1e9))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _rounded(number: float) -> str:
    digits = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 1 else 3
    return f"{number:,.{digits}f}"
