"""What studies on simulated data have in common: commands run once, spreads, tables in the docs."""

import pathlib
import shlex
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs" / "results.md"
RATE = "trainer.optimizer_config.learning_rate.stepwise"


def cli(*args) -> list:
    return [sys.executable, "-m", "context_rcnn.cli", *args]


def run_once(folder: pathlib.Path, name: str, command: list, product: pathlib.Path) -> None:
    """Runs a command whose product is not there yet; its output goes to a log in the folder."""
    if product.exists():
        return
    log = folder / "logs" / f"{name.replace('/', '_')}.txt"
    log.parent.mkdir(exist_ok=True)
    start = time.monotonic()
    print(f"{folder.name} {name} ...", end=" ", flush=True)
    with open(log, "w") as file:
        file.write(shlex.join(map(str, command)) + "\n")
        file.flush()
        status = subprocess.run(
            list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, cwd=ROOT
        ).returncode
    if status or not product.exists():
        sys.exit(f"failed with status {status}; see {log}")
    print(f"{time.monotonic() - start:.0f} s", flush=True)


def train_command(
    model_dir: pathlib.Path, flags: list[str], steps: int, seed: int, settings: list[str]
) -> list:
    """Training and evaluation in so many steps, with a warm-up and two drops of the rate."""
    overrides = [
        f"task.train_data.seed={seed}",
        f"trainer.seed={seed}",
        f"trainer.validation_interval={steps}",
        f"trainer.optimizer_config.warmup.linear.warmup_steps={steps // 10}",
        f"{RATE}.boundaries=[{steps * 2 // 3},{steps * 8 // 9}]",
        *settings,
    ]
    command = [sys.executable, "-m", "context_rcnn.model_main_tf2", *flags]
    command += [f"--model_dir={model_dir}", f"--num_train_steps={steps}"]
    return [*command, f"--params_override={','.join(overrides)}"]


def metrics_of(model_dir: pathlib.Path, steps: int) -> pathlib.Path:
    """The file of a run's last evaluation."""
    return model_dir / "evaluation" / f"step-{steps}" / "metrics.json"


def spread(values: list[float], sign: str = "") -> str:
    """Mean, with its sign if wanted, and standard deviation."""
    if not values:
        return "-"
    mean = statistics.mean(values)
    return f"{mean:{sign}.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def write_docs(text: str, name: str) -> None:
    """Puts a text between the marks of that name in docs/results.md."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = DOCS.read_text().partition(begin)
    _, _, after = rest.partition(end)
    DOCS.write_text(f"{before}{begin}\n{text}\n{end}{after}")
