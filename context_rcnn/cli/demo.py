"""Everything in a few minutes, on simulated cameras: from archive to report.

The demo makes cameras, examples, a single-frame detector, its memory bank and Context R-CNN. It
measures both detectors on cameras that they have never seen, and writes a page that shows the
difference. It prints and runs the commands that a user would type. Run it with `make demo`, or:

    python -m context_rcnn.cli.demo --output_dir=demo
"""

import argparse
import json
import pathlib
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from context_rcnn import extras

STAGES = ("single_frame", "context_rcnn")
# Many cameras, with a month of few images each: cameras teach the use of a memory, not images. Two
# species that look alike, because a few minutes are not enough to learn rare ones.
SIMULATION = ["--triggers_per_day=0.9", "--empty_fraction=0.5", "--max_burst=1", "--species=2"]
SIMULATION += ["--pretrain_fraction=0.3"]
THREADS = 2  # that look at images for the bank, each at files of its own


def steps(folder: pathlib.Path, args: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """The demo's steps: what each is for, and its command.

    The extractor must not be trained on the cameras that teach the use of the memory: features of
    training images are more informative than features of new cameras will ever be.
    """
    python, archive, examples = sys.executable, folder / "archive", folder / "examples"
    cli = [python, "-m", "context_rcnn.cli"]
    pretrained = folder / "pretrained"
    single, context = (folder / stage for stage in STAGES)

    def train(configs: list[str], run: pathlib.Path, num_steps: int, **overrides) -> list:
        overrides = {
            "task.train_data.input_path": f"{examples}/train-*",
            "task.validation_data.input_path": f"{examples}/val-*",
            "task.validation_data.sample_1_of_n": args.sample_1_of_n,
            "task.train_data.seed": args.seed,
            "trainer.seed": args.seed,
            **overrides,
        }
        settings = ",".join(f"{name}={value}" for name, value in overrides.items())
        command = [python, "-m", "context_rcnn.model_main_tf2"]
        command += [f"--config_file={config}" for config in configs]
        command += [f"--model_dir={run}", f"--params_override={settings}"]
        return [*command, f"--num_train_steps={num_steps}"]

    # To learn on stored features would save nothing here, where each image is seen twice or so.
    from_pretrained = {"task.init_checkpoint": pretrained}
    return [
        (
            f"Simulate {args.cameras} camera traps over {args.days} days",
            [*cli, "simulate", "camera-traps", str(archive), f"--cameras={args.cameras}"]
            + [f"--days={args.days}", f"--seed={args.seed}", "--workers=2", *SIMULATION],
        ),
        (
            "Write them as examples, with Apache Beam",
            [*cli, "examples", f"--input_json={archive}/camera_traps.json"]
            + [f"--image_root={archive}/images", f"--splits_file={archive}/splits.json"]
            + [f"--output_dir={examples}", f"--num_shards={THREADS}"],
        ),
        (
            "Train a single-frame detector on the first cameras",
            train(
                [args.config],
                pretrained,
                args.train_steps,
                **{
                    "task.train_data.input_path": f"{examples}/pretrain-*",
                    "task.validation_data.input_path": "",
                },
            )
            + ["--mode=train"],
        ),
        (
            "Freeze it as the extractor",
            [*cli, "extractor", f"--model_dir={pretrained}", f"--output_dir={folder}/extractor"]
            + ["--max_boxes=1"],
        ),
        (
            "Fill a memory bank with the best box of every image of the other cameras, with Beam",
            [*cli, "remember", f"--extractor={folder}/extractor", f"--output_dir={folder}/bank"]
            + [f"--examples={examples}/train-*.tfrecord,{examples}/val-*.tfrecord"]
            + [f"--direct_num_workers={THREADS}", "--direct_running_mode=multi_threading"],
        ),
        (
            "Train on more cameras without a memory, and evaluate on cameras never seen",
            train(
                [args.context_config, "configs/table1/single_frame.yaml"],
                single,
                args.context_steps,
                **from_pretrained,
                **{"task.memory.bank": ""},
            ),
        ),
        (
            "Train Context R-CNN on the same cameras with their memory, and evaluate it too",
            train(
                [args.context_config],
                context,
                args.context_steps,
                **from_pretrained,
                **{"task.memory.bank": f"{folder}/bank"},
            ),
        ),
        (
            "Write what its detections look at",
            [*cli, "explain", f"--model_dir={context}", f"--output={folder}/explanations.jsonl"]
            + ["--count=100", "--top=50"],
        ),
        (
            "Write the report",
            [*cli, "report", f"--evaluation={context}", f"--baseline={single}"]
            + [f"--explanations={folder}/explanations.jsonl", f"--examples={examples}/*.tfrecord"]
            + [f"--output_dir={folder}/report", "--title=Simulated cameras that remember"]
            + [f"--simulation={archive}/simulation.json"],
        ),
    ]


# What a whole demo costs, as measured on two processors (8.2 minutes there).
PROCESSES = 8  # that load TensorFlow and build a model
READING = 1.3  # a step on real images, in steps on made-up ones
STEPS_AN_IMAGE = 0.17  # simulating, writing, remembering and evaluating an image, in steps


def run_command(command: list[str]) -> int:
    """Runs a step of the demo; returns its exit status."""
    return subprocess.run(command).returncode


def measure_speed(config: str) -> dict[str, float] | None:
    """What `tasks.speed` measures on this machine in a process of its own; None if it fails."""
    command = [sys.executable, "-m", "context_rcnn.tasks.speed", f"--config_file={config}"]
    result = subprocess.run([*command, "--steps=10"], stdout=subprocess.PIPE, text=True)
    return None if result.returncode else json.loads(result.stdout.splitlines()[-1])


def estimate(args: argparse.Namespace, speed: Mapping[str, float]) -> float:
    """Minutes that the demo takes on a machine of this speed."""
    images = args.cameras * args.days * 0.9  # triggers per day, each of one image
    training = args.train_steps + 2 * args.context_steps
    steps = training * READING + images * STEPS_AN_IMAGE
    seconds = PROCESSES * speed["seconds_to_start"] + steps * speed["seconds_a_step"]
    return seconds / 60


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the verb of this file."""
    verbs.add_parser(
        "demo",
        add_help=False,
        help="run everything on simulated cameras, in minutes (`context-rcnn demo --help`)",
    ).set_defaults(run=lambda args, rest: main(rest), passes_flags_on=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo. Returns the exit status of the first step that fails, or 0."""
    parser = argparse.ArgumentParser(prog="context-rcnn demo", description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", default="demo", help="folder to write (default: demo)")
    parser.add_argument("--cameras", type=int, default=240, help="number of cameras (default: 240)")
    parser.add_argument("--days", type=int, default=30, help="length of the study (default: 30)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of all random choices (default: 0)"
    )
    parser.add_argument(
        "--config",
        default="configs/simulation/faster_rcnn.yaml",
        metavar="FILE",
        help="settings of the single-frame detector (default: %(default)s)",
    )
    parser.add_argument(
        "--train_steps",
        type=int,
        default=350,
        help="number of training steps of the single-frame detector (default: 350)",
    )
    parser.add_argument(
        "--context_config",
        default="configs/simulation/context_rcnn.yaml",
        metavar="FILE",
        help="settings of Context R-CNN (default: %(default)s)",
    )
    parser.add_argument(
        "--context_steps",
        type=int,
        default=420,
        help="number of training steps with the memory, and without it (default: 420)",
    )
    parser.add_argument(
        "--sample_1_of_n",
        type=int,
        default=2,
        help="number n: every n-th image is evaluated (default: 2)",
    )
    args = parser.parse_args(argv)
    extras.require("train", "beam")
    folder = pathlib.Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    print("Measuring how fast this machine trains ...", flush=True)
    speed = measure_speed(args.config)
    if speed is not None:
        expected = max(1, round(estimate(args, speed)))
        print(f"The demo takes about {expected} minutes on this machine.", flush=True)
    for title, command in steps(folder, args):
        print(f"\n=== {title}\n$ {shlex.join(command)}\n", flush=True)
        status = run_command(command)
        if status:
            print(f"\nThe demo stops here: the command above ended with status {status}.")
            return status
        print(f"({(time.monotonic() - start) / 60:.1f} minutes so far)", flush=True)
    measured = {stage: _latest(folder / stage) for stage in STAGES}
    (folder / "metrics.json").write_text(json.dumps(measured, indent=1))
    single, context = (measured[stage] for stage in STAGES)
    print(f"\n{'on cameras never seen before':30} {'single frame':>14} {'Context R-CNN':>14}")
    for name in ("mAP@.5", "AR@1"):
        print(f"{name:30} {single[name]:14.3f} {context[name]:14.3f}")
    minutes = (time.monotonic() - start) / 60
    print(
        f"\nDone in {minutes:.1f} minutes. Look at\n"
        f"  {folder}/report/index.html   what the memory changed, and what it looks at\n"
        f"  {folder}/metrics.json        all numbers of both\n"
        f"  tensorboard --logdir {folder}"
    )
    return 0


def _latest(run: pathlib.Path) -> dict:
    """Numbers of a run's last evaluation; its pictures go beside the run."""
    evaluations = (run / "evaluation").glob("step-*")
    latest = max(evaluations, key=lambda path: int(path.name.rsplit("-", 1)[1]))
    for name in ("metrics.txt", "contact_sheet.png"):
        shutil.copy(latest / name, run / name)
    return json.loads((latest / "metrics.json").read_text())


if __name__ == "__main__":
    sys.exit(main())
