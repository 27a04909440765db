"""`context-rcnn simulate`, `validate` and `examples`: archives of cameras and videos."""

import argparse
import dataclasses
import json
from collections.abc import Callable
from typing import Any


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the verbs of this file."""
    _add_simulate(verbs)
    _add_validate(verbs)
    _add_examples(verbs)


def _add_simulate(verbs: argparse._SubParsersAction) -> None:
    from context_rcnn.simulation import settings

    simulate = verbs.add_parser(
        "simulate",
        help="write a simulated archive in a public data set's own layout",
        description="Writes simulated cameras as photographs with labels: camera traps with COCO "
        "Camera Traps JSON, traffic cameras with CityCam XML, videos with ImageNet VID XML, pairs "
        "of frames with their optical flow as FlyingChairs, or tracklets of people with the lists "
        "of MARS. Equal seeds give equal bytes.",
    )
    kinds = simulate.add_subparsers(title="kinds", metavar="KIND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("output_dir", help="folder to write")
    common.add_argument("--workers", type=int, default=1, help="number of processes (default: 1)")
    common.add_argument(
        "--overwrite", action="store_true", help="write even into a folder that holds other things"
    )
    for kind, what, described in (
        ("camera-traps", "animals on a trail, for months", settings.CameraTrapSettings),
        ("traffic", "vehicles on a road", settings.TrafficSettings),
        ("videos", "animals in videos, whose looks come and go", settings.VideoSettings),
        ("flow", "pairs of frames of such videos, with optical flow", settings.FlowPairSettings),
        ("tracklets", "tracklets of people, to find them again", settings.TrackletSettings),
    ):
        parser = kinds.add_parser(kind, parents=[common], help=what)
        _add_settings(parser, described)
        parser.set_defaults(run=_simulate, kind=kind)


def _add_settings(parser: argparse.ArgumentParser, described: type) -> None:
    """A flag for each setting of a simulation, with its help text."""
    from context_rcnn.simulation.arguments import shown

    for field in dataclasses.fields(described):
        flag, text = f"--{field.name}", field.metadata["help"]
        if field.default is False:
            parser.add_argument(flag, action="store_true", default=None, help=text)
            continue
        parse = field.metadata["parse"] or type(field.default)
        text = f"{text} (default: {shown(field)})".replace("%", "%%")
        parser.add_argument(flag, type=_explained(parse), help=text)


def _explained(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser of text whose complaint argparse repeats."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _simulate(args: argparse.Namespace, rest: list[str]) -> int:
    from tqdm import tqdm

    from context_rcnn import simulation

    options = {k: v for k, v in vars(args).items() if v is not None and k not in ("run", "kind")}
    simulators: dict[str, Callable[..., Any]] = {
        "camera-traps": simulation.simulate_camera_traps,
        "traffic": simulation.simulate_traffic,
        "videos": simulation.simulate_videos,
        "flow": simulation.simulate_flow_pairs,
        "tracklets": simulation.simulate_tracklets,
    }
    with tqdm(desc="simulate", unit="frame") as bar:

        def progress(camera: str, done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        summary = simulators[args.kind](**options, progress=progress)
    print(json.dumps(summary, indent=1))
    return 0


def _add_validate(verbs: argparse._SubParsersAction) -> None:
    from context_rcnn.data import flags

    validate = verbs.add_parser(
        "validate",
        help="check a whole archive as `examples` would, without writing",
        description="Opens every image and checks every label. Prints the counts by camera, and "
        "each reason why something cannot be used.",
    )
    flags.add_archive_flags(validate)
    validate.add_argument_group("instead of an archive").add_argument(
        "--examples", metavar="PATTERN", help="TFRecord files of examples, to read all records of"
    )
    validate.add_argument("--workers", type=int, default=2, help="number of threads (default: 2)")
    validate.add_argument(
        "--json", metavar="FILE", help="file for the report as JSON, in addition to the text"
    )
    validate.set_defaults(run=_validate)


def _validate(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.data import flags

    if args.examples:
        flags.refuse_clocks(args, "give it to `context-rcnn examples`, which dates examples")
        return _validate_examples(args.examples)
    from tqdm import tqdm

    from context_rcnn.data.validate import validate_archive

    report = validate_archive(
        flags.archive_options(args),
        flags.image_options(args),
        workers=args.workers,
        progress=lambda images, total: tqdm(images, "validate", total, unit="image"),
    )
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
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
        help="write an archive as TFRecords, with Beam (`context-rcnn examples --help`)",
    ).set_defaults(run=_examples, passes_flags_on=True)


def _examples(args: argparse.Namespace, rest: list[str]) -> int:
    from beam_pipelines import create_examples

    return create_examples.main(rest)
