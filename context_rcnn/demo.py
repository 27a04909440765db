"""The whole road in a few minutes: simulated cameras, examples, a detector, its evaluation.

Runs the commands that a user would type, and shows them. Run it with `make demo`, or:

    python -m context_rcnn.demo --output_dir=demo
"""

import argparse
import pathlib
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence


def steps(folder: pathlib.Path, args: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """The demo's steps: what each is for, and its command."""
    python, archive, examples = sys.executable, folder / "archive", folder / "examples"
    cli = [python, "-m", "context_rcnn.cli"]
    overrides = [
        f"task.train_data.input_path={examples}/train-*",
        f"task.validation_data.input_path={examples}/val-*",
        f"task.train_data.seed={args.seed}",
        f"trainer.seed={args.seed}",
    ]
    return [
        (
            f"Simulate {args.cameras} camera traps over {args.days} days",
            [*cli, "simulate", "camera-traps", str(archive), f"--cameras={args.cameras}"]
            + [f"--days={args.days}", f"--seed={args.seed}", "--workers=2"],
        ),
        (
            "Write them as examples, by Apache Beam",
            [*cli, "examples", f"--input_json={archive}/camera_traps.json"]
            + [f"--image_root={archive}/images", f"--splits_file={archive}/splits.json"]
            + [f"--output_dir={examples}"],
        ),
        (
            "Train a tiny detector, and evaluate it on cameras it has never seen",
            [python, "-m", "context_rcnn.model_main_tf2"]
            + [f"--pipeline_config_path={args.config}", f"--model_dir={folder}/model"]
            + [f"--params_override={','.join(overrides)}"]
            + ([f"--num_train_steps={args.train_steps}"] if args.train_steps else []),
        ),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo. Returns the exit status of the first step that fails, or 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", default="demo", help="folder to write (default: demo)")
    parser.add_argument("--cameras", type=int, default=30, help="(default: 30)")
    parser.add_argument("--days", type=int, default=20, help="(default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of everything (default: 0)")
    parser.add_argument("--config", default="configs/simulation/faster_rcnn.yaml", metavar="FILE")
    parser.add_argument("--train_steps", type=int, help="instead of the config file's")
    args = parser.parse_args(argv)
    folder = pathlib.Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    for title, command in steps(folder, args):
        print(f"\n=== {title}\n$ {shlex.join(command)}\n", flush=True)
        status = subprocess.run(command).returncode
        if status:
            print(f"\nThe demo stops here: the command above ended with status {status}.")
            return status
    evaluations = (folder / "model" / "evaluation").glob("step-*")
    latest = max(evaluations, key=lambda path: int(path.name.rsplit("-", 1)[1]))
    for name in ("metrics.json", "metrics.txt", "contact_sheet.png"):
        shutil.copy(latest / name, folder / name)
    minutes = (time.monotonic() - start) / 60
    print(
        f"\nDone in {minutes:.1f} minutes. Look at\n"
        f"  {folder}/contact_sheet.png   detections (solid) and the truth (dashed)\n"
        f"  {folder}/metrics.txt         how good they are, by class and by camera\n"
        f"  tensorboard --logdir {folder}/model"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
