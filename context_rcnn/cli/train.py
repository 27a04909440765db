"""`context-rcnn train`, `convert`, `extractor`, `explain` and `export`: detectors."""

import argparse
import json

KEYFRAMES = 4  # of a video that are explained


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the verbs of this file."""
    _add_train(verbs)
    _add_convert(verbs)
    _add_extractor(verbs)
    _add_explain(verbs)
    _add_export(verbs)


def _add_train(verbs: argparse._SubParsersAction) -> None:
    verbs.add_parser(
        "train",
        add_help=False,
        help="train and evaluate a detector (`context-rcnn train --help`)",
    ).set_defaults(run=_train, passes_flags_on=True)


def _train(args: argparse.Namespace, rest: list[str]) -> int:
    from absl import app, flags

    from context_rcnn import model_main_tf2

    if {"-h", "--help"} & {*rest}:  # absl would explain the program, not this verb
        about = model_main_tf2.__doc__ or ""
        print(about.replace("python -m context_rcnn.model_main_tf2", "context-rcnn train"))
        listed = flags.FLAGS.module_help(model_main_tf2)
        print(listed.replace(f"{model_main_tf2.__name__}:", "flags:"))
        return 0
    app.run(model_main_tf2.main, ["context-rcnn train", *rest])
    return 0


def _add_convert(verbs: argparse._SubParsersAction) -> None:
    convert = verbs.add_parser(
        "convert",
        help="turn a TensorFlow 1 checkpoint of the Object Detection API into a run",
        description="Takes the weights of a Faster R-CNN or Context R-CNN of the Object Detection "
        "API's model zoo, ResNet 50, 101 or 152 without a pyramid, and writes the folder of a run "
        "that computes the same. You can export it, make an extractor of it, or train it further.",
    )
    convert.add_argument(
        "--checkpoint",
        required=True,
        metavar="PREFIX",
        help="checkpoint to convert, such as .../model.ckpt",
    )
    convert.add_argument(
        "--pipeline_config", required=True, metavar="FILE", help="pipeline.config of the model"
    )
    convert.add_argument(
        "--label_map", required=True, metavar="FILE", help="label map of the model (.pbtxt)"
    )
    convert.add_argument("--model_dir", required=True, metavar="DIR", help="folder to write")
    convert.add_argument(
        "--params_override",
        default="",
        metavar="A.B=1",
        help="settings that replace those of the pipeline.config",
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
        help="freeze a trained detector as an extractor, which fills memory banks",
        description="Writes the detector of a training run as a SavedModel that takes encoded "
        "images and returns box features. It needs TensorFlow alone to run, and carries a hash of "
        "its weights and preprocessing.",
    )
    extractor.add_argument("--model_dir", required=True, help="folder of the training run")
    extractor.add_argument("--output_dir", required=True, help="folder to write")
    extractor.add_argument(
        "--source",
        default="detections",
        help="kind of boxes whose features are kept: `detections` (as the released code does) or "
        "`proposals` (as the paper says) (default: detections)",
    )
    extractor.add_argument(
        "--max_boxes",
        type=int,
        default=8,
        help="number of boxes kept per image, best first (default: 8)",
    )
    extractor.add_argument(
        "--checkpoint",
        default="",
        help="checkpoint to use (default: the best of the run, or else the latest)",
    )
    extractor.set_defaults(run=_extractor)


def _extractor(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.export.extractor import export_extractor

    description = export_extractor(
        args.model_dir,
        args.output_dir,
        source=args.source,
        max_boxes=args.max_boxes,
        checkpoint=args.checkpoint,
    )
    print(json.dumps(description, indent=1))
    return 0


def _add_explain(verbs: argparse._SubParsersAction) -> None:
    explain = verbs.add_parser(
        "explain",
        help="show what detections attend to, or what a memory of maps holds",
        description="Runs a trained model on labelled keyframes, and writes one JSON line per "
        "keyframe: its detections, and the entries of the memory bank that each attends to, with "
        "image, time difference, box and weight. Of a model that relates the boxes of frames, it "
        "writes the same for four keyframes of each of --count videos, with the boxes of other "
        "frames that each detection draws on. Of a model with a memory of maps, it writes one line "
        "per frame of --count videos: how much the memory holds of each place, and how long a "
        "trail each object leaves.",
    )
    explain.add_argument("--model_dir", required=True, help="folder of the training run")
    explain.add_argument("--output", required=True, help="file to write, JSON lines")
    explain.add_argument(
        "--examples",
        default="",
        metavar="FILES",
        help="examples with the keyframes (default: the run's validation data)",
    )
    which = explain.add_mutually_exclusive_group()
    which.add_argument("--image_id", action="append", help="id of a keyframe; may be repeated")
    which.add_argument(
        "--count",
        type=int,
        help="number of keyframes, chosen evenly from those with objects; of a model of videos, "
        "number of videos (default: all; 8 videos of a memory of maps)",
    )
    explain.add_argument(
        "--top", type=int, default=10, help="number of entries per detection (default: 10)"
    )
    explain.add_argument(
        "--min_score",
        type=float,
        default=0.3,
        help="lowest score of a detection that is written (default: 0.3)",
    )
    explain.add_argument(
        "--min_weight",
        type=float,
        default=0.01,
        help="lowest weight of an entry that is written (default: 0.01)",
    )
    explain.add_argument(
        "--checkpoint",
        default="",
        help="checkpoint to use (default: the best of the run, or else the latest)",
    )
    explain.set_defaults(run=_explain)


def _explain(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.explanations.attended import Explainer, write_lines
    from context_rcnn.explanations.attended_frames import explain_videos, relates_frames
    from context_rcnn.explanations.memory_maps import has_memory_maps, write_memory_maps

    if has_memory_maps(args.model_dir):
        if args.image_id:
            raise ValueError("--image_id: a memory of maps is shown of whole videos; give --count")
        frames = write_memory_maps(
            args.model_dir,
            args.output,
            checkpoint=args.checkpoint,
            input_path=args.examples,
            videos=args.count or 8,
        )
        print(f"{frames} frames in {args.output}")
        return 0
    how = {
        "checkpoint": args.checkpoint,
        "input_path": args.examples,
        "top": args.top,
        "min_score": args.min_score,
        "min_weight": args.min_weight,
    }
    if relates_frames(args.model_dir):
        if args.image_id:
            raise ValueError("--image_id: a model of videos is shown on whole ones; give --count")
        lines = explain_videos(args.model_dir, videos=args.count, keyframes=KEYFRAMES, **how)
    else:
        explainer = Explainer(args.model_dir, **how)
        lines = explainer.explain(explainer.choose(args.count) if args.count else args.image_id)
    print(f"{write_lines(lines, args.output)} keyframes in {args.output}")
    return 0


def _add_export(verbs: argparse._SubParsersAction) -> None:
    export = verbs.add_parser(
        "export",
        help="write a trained model as a SavedModel, a detector with its memory and extractor",
        description="Writes the model of a training run so that TensorFlow alone can run it "
        "(docs/serving.md). A detector with a long-term memory carries the extractor that fills "
        "it, and works as a single-frame detector when it gets no memory. A model of tracklets is "
        "what `context-rcnn reid` needs.",
    )
    export.add_argument("--model_dir", required=True, help="folder of the training run")
    export.add_argument("--output_dir", required=True, help="folder to write")
    export.add_argument(
        "--extractor",
        default="",
        metavar="DIR",
        help="folder of the extractor that made the bank of the training; without it the model "
        "cannot fill its own memory",
    )
    export.add_argument(
        "--input_type",
        default="image_tensor",
        help="input of the signature serving_default: image_tensor, float_image_tensor, "
        "encoded_image_string_tensor or tf_example (default: image_tensor); the other signatures "
        "take encoded images",
    )
    export.add_argument(
        "--checkpoint",
        default="",
        help="checkpoint to use (default: the best of the run, or else the latest)",
    )
    export.add_argument(
        "--card",
        default="",
        metavar="FILE",
        help="YAML or JSON file with texts for the model card: made_by, licence, intended_use, "
        "not_for, data, notes (docs/serving.md)",
    )
    export.add_argument(
        "--portable",
        action="store_true",
        help="crop boxes by operations that TFLite has, too (docs/serving.md); processors take a "
        "few percent longer",
    )
    export.set_defaults(run=_export)


def _export(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.export.export import export_run

    description = export_run(
        args.model_dir,
        args.output_dir,
        checkpoint=args.checkpoint,
        told=args.card,
        portable=args.portable,
        extractor=args.extractor,
        input_type=args.input_type,
    )
    print(json.dumps(description, indent=1))
    return 0
