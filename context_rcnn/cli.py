"""The command `context-rcnn VERB`. Each verb is one call into the rooms below.

Training is `python -m context_rcnn.model_main_tf2`, which keeps the Object Detection API's flags.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

import context_rcnn
from context_rcnn import bank_verbs, detect_verbs, video_verbs

EPILOG = """\
with a model that somebody made:
  context-rcnn detect photos --model leopards --report page
  context-rcnn videos clips --model leopards

the road from photographs to a trained detector:
  context-rcnn simulate camera-traps archive       or have an archive of your own
  context-rcnn validate --input_folder=photos      what is in it, and what is damaged
  context-rcnn examples --input_json=archive/camera_traps.json --image_root=archive/images \\
      --splits_file=archive/splits.json --output_dir=examples
  python -m context_rcnn.model_main_tf2 --model_dir=runs/first \\
      --pipeline_config_path=configs/simulation/faster_rcnn.yaml --params_override=\\
      task.train_data.input_path='examples/train-*',task.validation_data.input_path='examples/val-*'

and to its memory:
  context-rcnn extractor --model_dir=runs/first --output_dir=extractor
  context-rcnn remember --examples=examples --extractor=extractor --output_dir=bank
  context-rcnn bank inspect bank

and, when a detector has been trained with it, to a model:
  context-rcnn report --evaluation=runs/memory --baseline=runs/first --output_dir=report
  context-rcnn export --model_dir=runs/memory --extractor=extractor --output_dir=leopards

context-rcnn VERB --help explains a verb.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command and its verbs."""
    parser = argparse.ArgumentParser(
        prog="context-rcnn",
        description="Detectors that remember, for cameras that never move.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=context_rcnn.__version__)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    _add_simulate(verbs)
    _add_validate(verbs)
    _add_examples(verbs)
    _add_convert(verbs)
    _add_extractor(verbs)
    _add_remember(verbs)
    bank_verbs.add_bank(verbs)
    _add_explain(verbs)
    _add_export(verbs)
    detect_verbs.add_verbs(verbs)
    video_verbs.add_verbs(verbs)
    _add_report(verbs)
    doctor = verbs.add_parser("doctor", help="versions, devices, what is missing and what to do")
    doctor.set_defaults(run=_doctor)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 0, 1 where nothing usable was found, or 2 for unusable input."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if not hasattr(args, "run"):
        parser.print_help()
        return 2
    if rest and not getattr(args, "passes_flags_on", False):
        parser.error(f"unknown arguments: {' '.join(rest)} (context-rcnn {argv[0]} --help)")
    try:
        return args.run(args, rest)
    except (ValueError, OSError) as error:
        print(f"context-rcnn {argv[0]}: error: {error}", file=sys.stderr)
        return 2


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, got {text!r}") from None


def _add_simulate(verbs: argparse._SubParsersAction) -> None:
    simulate = verbs.add_parser(
        "simulate",
        help="write a simulated archive in a public data set's own layout",
        description="Writes simulated cameras as photographs with labels: camera traps with COCO "
        "Camera Traps JSON, traffic cameras with CityCam XML, or videos with ImageNet VID XML. "
        "Equal seeds give equal bytes.",
    )
    kinds = simulate.add_subparsers(title="kinds", metavar="KIND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("output_dir", help="folder to write")
    common.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    common.add_argument(
        "--image_size", type=_size, help="WIDTHxHEIGHT (default: 160x120; traffic 352x240)"
    )
    common.add_argument("--workers", type=int, default=1, help="processes to use (default: 1)")
    common.add_argument(
        "--overwrite", action="store_true", help="write even into a folder that holds other things"
    )
    study = argparse.ArgumentParser(add_help=False)
    study.add_argument("--cameras", type=int, help="number of cameras (default: 12; traffic 8)")
    study.add_argument("--days", type=int, help="length of the study (default: 60; traffic 3)")
    traps = kinds.add_parser(
        "camera-traps", parents=[common, study], help="animals on a trail, for months"
    )
    traps.add_argument(
        "--triggers_per_day", type=float, help="bursts a camera and day (default: 4)"
    )
    traps.add_argument("--empty_fraction", type=float, help="triggered by wind alone (default: .7)")
    traps.add_argument("--species", type=int, help="number of species (default: 8)")
    traps.add_argument("--max_burst", type=int, help="frames of the longest burst (default: 10)")
    traps.add_argument(
        "--pretrain_fraction",
        type=float,
        help="share of the training cameras that make a split `pretrain` (default: 0)",
    )
    traps.set_defaults(run=_simulate, kind="camera-traps")
    traffic = kinds.add_parser("traffic", parents=[common, study], help="vehicles on a road")
    traffic.add_argument("--clips_per_day", type=int, help="clips a camera and day (default: 4)")
    traffic.add_argument("--frames_per_clip", type=int, help="frames of a clip (default: 30)")
    traffic.add_argument("--frame_interval", type=float, help="seconds between them (default: 1)")
    traffic.add_argument("--vehicles_per_frame", type=float, help="on average (default: 14)")
    traffic.add_argument(
        "--dirt", action="store_true", help="repeat the known faults of the published archive"
    )
    traffic.set_defaults(run=_simulate, kind="traffic")
    videos = kinds.add_parser("videos", parents=[common], help="animals in videos")
    videos.add_argument("--videos", type=int, help="number of videos (default: 40)")
    videos.add_argument("--frames", type=int, help="of a video, on average (default: 40)")
    videos.add_argument("--species", type=int, help="number of species (default: 4)")
    videos.add_argument("--animals", type=int, help="most animals of a video (default: 2)")
    videos.add_argument(
        "--clear_fraction", type=float, help="time for which a coat shows (default: .35)"
    )
    videos.set_defaults(run=_simulate, kind="videos")


def _simulate(args: argparse.Namespace, rest: list[str]) -> int:
    from tqdm import tqdm

    from context_rcnn import simulation

    options = {k: v for k, v in vars(args).items() if v is not None and k not in ("run", "kind")}
    function = {
        "camera-traps": simulation.simulate_camera_traps,
        "traffic": simulation.simulate_traffic,
        "videos": simulation.simulate_videos,
    }[args.kind]
    with tqdm(desc="simulate", unit="frame") as bar:

        def progress(camera: str, done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        summary = function(**options, progress=progress)
    print(json.dumps(summary, indent=1))
    return 0


def _add_validate(verbs: argparse._SubParsersAction) -> None:
    from context_rcnn.data import flags

    validate = verbs.add_parser(
        "validate",
        help="look at a whole archive as `examples` would, without writing",
        description="Opens every image and checks every label. Prints what there is by camera, and "
        "each reason for which something cannot be used.",
    )
    flags.add_archive_flags(validate)
    validate.add_argument_group("instead of an archive").add_argument(
        "--examples", metavar="PATTERN", help="read all records of TFRecord files of examples"
    )
    validate.add_argument("--workers", type=int, default=2, help="threads to use (default: 2)")
    validate.add_argument("--json", metavar="FILE", help="also write the report as JSON")
    validate.set_defaults(run=_validate)


def _validate(args: argparse.Namespace, rest: list[str]) -> int:
    if args.examples:
        return _validate_examples(args.examples)
    from tqdm import tqdm

    from context_rcnn.data import flags
    from context_rcnn.data.validate import validate_archive

    report = validate_archive(
        flags.archive_options(args),
        flags.image_options(args),
        workers=args.workers,
        progress=lambda images, total: tqdm(images, "validate", total, unit="image"),
    )
    if args.json:
        with open(args.json, "w") as file:
            file.write(report.to_json())
    print(report.to_text(), end="")
    return 0 if report.to_dict()["images_usable"] else 1


def _validate_examples(pattern: str) -> int:
    from tqdm import tqdm

    from context_rcnn.data import damage
    from context_rcnn.data import input as input_lib

    files = input_lib.find_files(pattern, "--examples")
    found = 0
    for problem in damage.find_damage(files, lambda files: tqdm(files, "validate", unit="file")):
        found += 1
        print(problem)
    print(f"{len(files)} files, {found} problems")
    return 1 if found else 0


def _add_examples(verbs: argparse._SubParsersAction) -> None:
    verbs.add_parser(
        "examples",
        add_help=False,
        help="write an archive as TFRecords, by Beam (`context-rcnn examples --help`)",
    ).set_defaults(run=_examples, passes_flags_on=True)


def _examples(args: argparse.Namespace, rest: list[str]) -> int:
    from beam_pipelines import create_examples

    return create_examples.main(rest)


def _add_convert(verbs: argparse._SubParsersAction) -> None:
    convert = verbs.add_parser(
        "convert",
        help="make a run of a TensorFlow 1 checkpoint of the Object Detection API",
        description="Takes the weights of a Faster R-CNN or Context R-CNN of the Object Detection "
        "API's model zoo, ResNet 50, 101 or 152 without a pyramid, and writes the folder of a run "
        "that computes the same: to extract memories with, to export, to detect with, to train on.",
    )
    convert.add_argument("--checkpoint", required=True, metavar="PREFIX", help=".../model.ckpt")
    convert.add_argument("--pipeline_config", required=True, metavar="FILE", help="its config")
    convert.add_argument("--label_map", required=True, metavar="FILE", help="its classes (.pbtxt)")
    convert.add_argument("--model_dir", required=True, metavar="DIR", help="folder to write")
    convert.add_argument(
        "--params_override", default="", metavar="A.B=1", help="settings in place of the config's"
    )
    convert.set_defaults(run=_convert)


def _convert(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.tasks import slim_checkpoints

    left = slim_checkpoints.convert(
        args.checkpoint, args.pipeline_config, args.label_map, args.model_dir, args.params_override
    )
    for name in left:
        print(f"left out: {name}")
    print(f"{args.model_dir}: a run with these weights; {len(left)} variables were left out")
    return 0


def _add_extractor(verbs: argparse._SubParsersAction) -> None:
    extractor = verbs.add_parser(
        "extractor",
        help="freeze a trained detector, to fill memory banks with",
        description="Writes the detector of a training run as a SavedModel that takes encoded "
        "images and gives box features. It needs TensorFlow alone to run, and carries a hash of "
        "its weights and preprocessing.",
    )
    extractor.add_argument("--model_dir", required=True, help="folder of the training run")
    extractor.add_argument("--output_dir", required=True, help="folder to write")
    extractor.add_argument(
        "--source",
        default="detections",
        help="boxes whose features are given: `detections` (as the released code does) or "
        "`proposals` (as the paper says) (default: detections)",
    )
    extractor.add_argument(
        "--max_boxes", type=int, default=8, help="best boxes of an image (default: 8)"
    )
    extractor.add_argument(
        "--checkpoint", default="", help="default: the best of the run, or else the latest"
    )
    extractor.set_defaults(run=_extractor)


def _extractor(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.inference.extractor import export_extractor

    description = export_extractor(
        args.model_dir,
        args.output_dir,
        source=args.source,
        max_boxes=args.max_boxes,
        checkpoint=args.checkpoint,
    )
    print(json.dumps(description, indent=1))
    return 0


def _add_remember(verbs: argparse._SubParsersAction) -> None:
    verbs.add_parser(
        "remember",
        add_help=False,
        help="build or update memory banks, by Beam (`context-rcnn remember --help`)",
    ).set_defaults(run=_remember, passes_flags_on=True)


def _remember(args: argparse.Namespace, rest: list[str]) -> int:
    from beam_pipelines import build_memory_bank

    return build_memory_bank.main(rest)


def _add_explain(verbs: argparse._SubParsersAction) -> None:
    explain = verbs.add_parser(
        "explain",
        help="which remembered boxes a trained Context R-CNN attends to",
        description="Runs a trained Context R-CNN on labelled keyframes and writes, as a JSON line "
        "each, the detections and the memory entries they attend to: image, time apart, box and "
        "weight.",
    )
    explain.add_argument("--model_dir", required=True, help="folder of the training run")
    explain.add_argument("--output", required=True, help="file to write, JSON lines")
    explain.add_argument(
        "--examples", default="", metavar="FILES", help="(default: the run's validation data)"
    )
    which = explain.add_mutually_exclusive_group()
    which.add_argument("--image_id", action="append", help="a keyframe; may be repeated")
    which.add_argument("--count", type=int, help="so many keyframes with objects, spread evenly")
    explain.add_argument("--top", type=int, default=10, help="entries a detection (default: 10)")
    explain.add_argument("--min_score", type=float, default=0.3, help="(default: 0.3)")
    explain.add_argument("--min_weight", type=float, default=0.01, help="(default: 0.01)")
    explain.add_argument("--checkpoint", default="", help="(default: the best, else the latest)")
    explain.set_defaults(run=_explain)


def _explain(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.inference.explain import Explainer, write_explanations

    explainer = Explainer(
        args.model_dir,
        checkpoint=args.checkpoint,
        input_path=args.examples,
        top=args.top,
        min_score=args.min_score,
        min_weight=args.min_weight,
    )
    chosen = explainer.choose(args.count) if args.count else args.image_id
    print(f"{write_explanations(explainer, args.output, chosen)} keyframes in {args.output}")
    return 0


def _add_export(verbs: argparse._SubParsersAction) -> None:
    export = verbs.add_parser(
        "export",
        help="a trained detector as a SavedModel, with its memory and extractor",
        description="Writes the detector of a training run so that TensorFlow alone can run it "
        "(docs/serving.md). One with a long-term memory is single-frame where none is given, and "
        "carries the extractor that fills it.",
    )
    export.add_argument("--model_dir", required=True, help="folder of the training run")
    export.add_argument("--output_dir", required=True, help="folder to write")
    export.add_argument(
        "--extractor",
        default="",
        metavar="DIR",
        help="of the bank it was trained with; without it the model cannot fill its own memory",
    )
    export.add_argument(
        "--input_type",
        default="image_tensor",
        help="of the signature serving_default: image_tensor, float_image_tensor, "
        "encoded_image_string_tensor or tf_example (default: image_tensor); the other signatures "
        "take encoded images",
    )
    export.add_argument(
        "--checkpoint", default="", help="default: the best of the run, or else the latest"
    )
    export.set_defaults(run=_export)


def _export(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.inference.export import export_run

    description = export_run(
        args.model_dir,
        args.output_dir,
        checkpoint=args.checkpoint,
        extractor=args.extractor,
        input_type=args.input_type,
    )
    print(json.dumps(description, indent=1))
    return 0


def _add_report(verbs: argparse._SubParsersAction) -> None:
    report = verbs.add_parser(
        "report",
        help="a page to show, of an evaluation or of what `detect` found",
        description="Writes a folder that opens without a network. Of an evaluation: what a run "
        "with memory finds that a single-frame run does not, and the reverse, by class and camera; "
        "and what its detections attend to. Of results that nobody has labelled: samples with and "
        "without detections, to judge them by. What is not given, the page says.",
    )
    report.add_argument(
        "--evaluation", default="", metavar="RUN", help="with memory; or its evaluation/step-N"
    )
    report.add_argument(
        "--results", default="", metavar="FILE", help="instead: what `context-rcnn detect` wrote"
    )
    report.add_argument(
        "--threshold", type=float, default=0.2, help="of --results: what counts (default: 0.2)"
    )
    report.add_argument("--output_dir", required=True, help="folder to write; a report is replaced")
    report.add_argument("--baseline", default="", metavar="RUN", help="single-frame run, likewise")
    report.add_argument(
        "--explanations", default="", metavar="FILE", help="JSON lines of `context-rcnn explain`"
    )
    report.add_argument("--examples", default="", metavar="FILES", help="TFRecords, for pixels")
    report.add_argument(
        "--image_root", default="", metavar="DIR", help="images named like their ids, for pixels"
    )
    report.add_argument("--title", default="", help="of the page")
    report.add_argument(
        "--recall", type=float, default=0.5, help="at which the runs are compared (default: 0.5)"
    )
    report.add_argument(
        "--max_examples", type=int, default=12, help="images of each kind shown (default: 12)"
    )
    report.add_argument("--max_panels", type=int, default=6, help="keyframes shown (default: 6)")
    report.add_argument("--seed", type=int, default=0, help="of what is drawn by chance")
    report.set_defaults(run=_report)


def _report(args: argparse.Namespace, rest: list[str]) -> int:
    from tqdm import tqdm

    if bool(args.evaluation) == bool(args.results):
        raise ValueError("give either --evaluation, a run, or --results, what `detect` wrote")

    def progress(images, total):
        return tqdm(images, "images", total, unit="image", disable=None)

    if args.results:
        from context_rcnn.report.results_page import ResultsOptions, write_results_report

        index = write_results_report(_options(ResultsOptions, args), progress)
    else:
        from context_rcnn.report.page import ReportOptions, write_report

        index = write_report(_options(ReportOptions, args), progress)
    print(f"Look at {index}")
    return 0


def _options(options: type, args: argparse.Namespace):
    """Options of the flags with their names."""
    names = [field.name for field in dataclasses.fields(options)]
    return options(**{name: getattr(args, name) for name in names})


def _doctor(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn import doctor

    return doctor.main()


if __name__ == "__main__":
    sys.exit(main())
