"""The command `context-rcnn VERB`: its parser, and the handling of errors."""

import argparse
import io
import sys
from collections.abc import Sequence

import context_rcnn
from context_rcnn import extras
from context_rcnn.cli import (
    bank,
    cost,
    data,
    demo,
    detect,
    doctor,
    head,
    reid,
    report,
    train,
    videos,
)

# In the order in which --help lists them.
VERBS = (detect, videos, reid, report, data, train, bank, head, cost, demo, doctor)

EPILOG = """\
with a model:
  context-rcnn detect photos --model leopards --report page
  context-rcnn videos clips --model leopards

from photographs to a trained detector:
  context-rcnn simulate camera-traps archive       or use your own archive
  context-rcnn validate --input_folder=photos      list contents and damage
  context-rcnn examples --input_json=archive/camera_traps.json --image_root=archive/images \\
      --splits_file=archive/splits.json --output_dir=examples
  context-rcnn train --model_dir=runs/first \\
      --pipeline_config_path=configs/simulation/faster_rcnn.yaml --params_override=\\
      task.train_data.input_path='examples/train-*',task.validation_data.input_path='examples/val-*'

from the detector to its memory:
  context-rcnn extractor --model_dir=runs/first --output_dir=extractor
  context-rcnn remember --examples=examples --extractor=extractor --output_dir=bank
  context-rcnn bank inspect bank

from a detector trained with this memory to a model:
  context-rcnn report --evaluation=runs/memory --baseline=runs/first --output_dir=report
  context-rcnn export --model_dir=runs/memory --extractor=extractor --output_dir=leopards

context-rcnn VERB --help explains a verb.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command and its verbs."""
    parser = argparse.ArgumentParser(
        prog="context-rcnn",
        description="Detectors that remember, for cameras that never move and for videos.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=context_rcnn.__version__)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    for verb in VERBS:
        verb.add_verbs(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 0, 1 where nothing usable was found, or 2 for unusable input.

    A verb whose extra is not installed also ends with 2, and names the command that installs it.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names that a console cannot show are no errors
            stream.reconfigure(errors="backslashreplace")
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if not hasattr(args, "run"):
        parser.print_help()
        return 2
    if rest and not getattr(args, "passes_flags_on", False):
        parser.error(f"unknown arguments: {' '.join(rest)} (context-rcnn {argv[0]} --help)")
    try:
        return args.run(args, rest)
    except ModuleNotFoundError as error:
        sentence = extras.explain(error)
        if sentence is None:
            raise
    except (ValueError, OSError) as error:
        sentence = str(error)
    print(f"context-rcnn {argv[0]}: error: {sentence}", file=sys.stderr)
    return 2
