r"""Compiles a training step and inference with XLA, as a TPU would, without a TPU.

What does not compile (dynamic shapes, unsupported operations) fails here within minutes on any
machine, rather than on an expensive one:

    python -m tpu.compile_check --config_file=configs/serengeti/faster_rcnn.yaml

`--all` does that for every file of configs/ at its full size, with the flags of the command that
the file opens with, and shows the memory and the FLOPs of each step in a table.
"""

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import context_rcnn  # noqa: F401
from context_rcnn.configs.flags import add_experiment_flags, experiment_of
from tpu import all_configs

STEPS = ("training", "inference")


def make_parser() -> argparse.ArgumentParser:
    """The flags of this program."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        epilog="Memory is what XLA's plan for this processor takes: weights, optimiser, inputs and "
        "all in between. That of a TPU differs in layout and in what is fused. FLOPs are two "
        "for each multiply-add of convolutions and matrix products.",
    )
    add_experiment_flags(parser)
    parser.add_argument(
        "--batch_size",
        type=int,
        help="number of images (or clips) per replica (default: 2, with --all 1)",
    )
    parser.add_argument(
        "--num_classes", type=int, default=10, help="number of classes (default: 10)"
    )
    parser.add_argument(
        "--steps",
        default=",".join(STEPS),
        help=f"what to compile, separated by commas (default: {','.join(STEPS)})",
    )
    parser.add_argument(
        "--compile_only",
        action="store_true",
        help="do not run what was compiled, which takes memory and, at full size, minutes",
    )
    parser.add_argument("--json", metavar="FILE", help="also write what was found as JSON")
    every = parser.add_argument_group("every file of configs/")
    every.add_argument(
        "--all",
        action="store_true",
        help="compile them one after the other, in a process each, and print a table",
    )
    every.add_argument(
        "--only",
        default="",
        metavar="TEXT",
        help="only files with this in their path, as stmn/ or _vgg16",
    )
    every.add_argument(
        "--output",
        default="compiled.json",
        metavar="FILE",
        help="where --all keeps what it found: what is there is not compiled again "
        "(default: compiled.json)",
    )
    return parser


Plans = Callable[[], dict[str, int]]  # see `dumped_plans`


def main(argv: Sequence[str] | None = None, plans: Plans = dict) -> int:
    """Compiles what the flags say and prints what it took. Returns 1 if a step does not compile.

    Args:
        argv: flags; by default those of the program.
        plans: what tells the memory of what was compiled; by default nothing does.
    """
    parser = make_parser()
    args = parser.parse_args(argv)
    unknown = set(args.steps.split(",")) - set(STEPS)
    if unknown:
        parser.error(f"--steps: {', '.join(sorted(unknown))} is not one of {', '.join(STEPS)}")
    if args.all:
        if args.experiment or args.config_file:
            parser.error("--all takes its settings from configs/, not from flags")
        return all_configs.run(args.output, args.only, args.batch_size or 1, args.num_classes)
    config = experiment_of(args, parser)
    found = compile_steps(
        config,
        args.steps.split(","),
        args.batch_size or 2,
        args.num_classes,
        args.compile_only,
        plans,
    )
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1))
    return int(any({"error", "needs"} & step.keys() for step in found.values()))


def compile_steps(
    config,
    steps: Sequence[str],
    batch_size: int,
    num_classes: int,
    compile_only: bool,
    plans: Plans,
) -> dict[str, dict]:
    """Compiles steps of an experiment, and prints each when it is done.

    Args:
        config: settings of the experiment.
        steps: those of `STEPS` to compile.
        batch_size: number of images or clips of a step.
        num_classes: number of classes of the model.
        compile_only: whether what was compiled is not run.
        plans: see `main`.

    Returns:
        For each step its `seconds`, `bytes` (where XLA tells them) and `multiply_adds`, or its
        `error`, or the other run that it `needs`.
    """
    import tensorflow as tf
    import tf_keras

    from context_rcnn.models.temporal import RunNotThere
    from context_rcnn.tasks.cost import graph_of, products_of
    from context_rcnn.tasks.task import task_class

    config.task.validation_data.global_batch_size = batch_size
    try:
        task = task_class(config.task).without_data(config.task, num_classes)
    except RunNotThere as error:
        print(f"{', '.join(steps)}: not compiled: {error}")
        return {name: {"needs": str(error)} for name in steps}
    model = task.build_model()
    optimizer = tf_keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)
    task.start_evaluation(model)
    functions = {
        "training": (lambda x: task.train_step(x, model, optimizer), task.dummy_inputs),
        "inference": (lambda x: task.validation_step(x, model), task.dummy_evaluation_inputs),
    }
    found: dict[str, dict] = {}
    for name in steps:
        function, inputs_of = functions[name]
        inputs = inputs_of(batch_size)
        compiled = tf.function(function, jit_compile=True, autograph=False)
        start = time.monotonic()
        try:
            if compile_only:
                compiled.experimental_get_compiler_ir(inputs)(stage="optimized_hlo")
            else:
                compiled(inputs)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            found[name] = {"error": error.message.splitlines()[0]}
            print(f"{name}: does not compile: {found[name]['error']}")
            continue
        seconds = time.monotonic() - start
        products = products_of(graph_of(_step(function, inputs)), {})
        found[name] = {"seconds": seconds, "multiply_adds": sum(products.values())} | plans()
        print(f"{name}: {_in_words(found[name], compile_only)}", flush=True)
    return found


def _in_words(result: dict, compile_only: bool) -> str:
    done = "compiled" if compile_only else "compiled and ran once"
    takes = f"{result['bytes'] / 2**30:.2f} GiB and " if "bytes" in result else ""
    takes += f"{2 * result['multiply_adds'] / 1e9:,.1f} GFLOP a step"
    return f"{done} in {result['seconds']:.1f} s; {takes}"


def _step(function: Callable, inputs: dict) -> Callable[[], object]:
    return lambda: function(inputs)


@contextlib.contextmanager
def dumped_plans() -> Iterator[Plans]:
    """What tells the `bytes` of the largest program that was compiled since it was last asked.

    XLA tells them in files alone, in a folder that it asks for once, when it first compiles in a
    process, and writes to until that ends: so this is for a program of its own.
    """
    with tempfile.TemporaryDirectory(prefix="compile_check_") as folder:

        def largest() -> dict[str, int]:
            sizes: list[int] = []
            for path in Path(folder).iterdir():
                if path.name.endswith("memory-usage-report.txt"):
                    sizes += map(int, re.findall(r"Total bytes used: (\d+)", path.read_text()))
                path.unlink()
            return {"bytes": max(sizes)} if sizes else {}

        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_dump_to={folder} --xla_dump_hlo_as_text"
        yield largest


if __name__ == "__main__":
    with dumped_plans() as told:
        sys.exit(main(plans=told))
