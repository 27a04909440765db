"""`context-rcnn remember`, `bank ...` and `features`: memory banks, and stores to learn on."""

import argparse
import difflib
import json
from collections.abc import Callable

# Imported inside the verbs: NumPy and banks are not needed for --help.


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the verbs of this file."""
    _add_remember(verbs)
    _add_bank(verbs)
    _add_features(verbs)


def _add_bank(verbs: argparse._SubParsersAction) -> None:
    bank = verbs.add_parser(
        "bank",
        help="inspect, verify, merge, prune, delete from, copy, export and import memory banks",
        description="Inspects and changes memory banks. A change happens completely or not at all; "
        "after a crash, run the same command again.",
    )
    actions = bank.add_subparsers(title="actions", metavar="ACTION", required=True)

    def add(name: str, run, text: str) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=text, description=text)
        parser.set_defaults(run=run)
        return parser

    _add_reading(add)
    _add_changes(add)
    _add_detection_api(add)


def _add_reading(add: Callable[..., argparse.ArgumentParser]) -> None:
    inspect = add("inspect", _inspect, "print counts, time ranges and what was left out, by camera")
    inspect.add_argument("folder", help="folder of the bank")
    inspect.add_argument("--days", action="store_true", help="also print the entries of every day")
    inspect.add_argument(
        "--plot", metavar="FILE", help="file for a picture of the entries by camera and day"
    )
    inspect.add_argument("--json", action="store_true", help="print JSON")

    nearest = add("nearest", _nearest, "list the entries that are most similar to an entry")
    nearest.add_argument("folder", help="folder of the bank")
    nearest.add_argument("--camera", required=True, help="camera of the entry to compare with")
    nearest.add_argument("--image_id", required=True, help="image of the entry to compare with")
    nearest.add_argument(
        "--rank", type=int, default=0, help="place of the entry in its image (default: 0)"
    )
    nearest.add_argument(
        "--count", type=int, default=10, help="number of entries to list (default: 10)"
    )
    nearest.add_argument(
        "--all_cameras", action="store_true", help="search all cameras, not only that of the entry"
    )

    verify = add("verify", _verify, "read everything and compare it with the manifest")
    verify.add_argument("folder", help="folder of the bank")


def _add_changes(add: Callable[..., argparse.ArgumentParser]) -> None:
    merge = add("merge", _merge, "write several banks of the same extractor as one bank")
    merge.add_argument("folder", help="folder of the new bank")
    merge.add_argument("sources", nargs="+", help="folders of banks; a single one is converted")
    merge.add_argument(
        "--dtype",
        choices=["float16", "bfloat16", "float32", "int8"],
        help="type of the features in the new bank (default: that of the sources)",
    )

    prune = add("prune", _prune, "limit the number of entries of every camera")
    prune.add_argument("folder", help="folder of the bank")
    prune.add_argument(
        "--max_entries", type=int, required=True, help="largest number of entries per camera"
    )
    prune.add_argument(
        "--policy",
        default="diverse",
        choices=["newest", "uniform", "diverse"],
        help="entries that stay: the newest, evenly spaced ones, or those that represent the whole "
        "time best (default: diverse)",
    )

    delete = add(
        "delete",
        _delete,
        "delete cameras or times for good, including their bytes: for retention and privacy",
    )
    delete.add_argument("folder", help="folder of the bank")
    delete.add_argument(
        "--camera", action="append", help="delete only from this camera; may be repeated"
    )
    delete.add_argument(
        "--first", metavar="DATE", help="first time to delete, such as 2022-12-31 09:52:50"
    )
    delete.add_argument("--last", metavar="DATE", help="last time to delete")
    delete.add_argument("--undated", action="store_true", help="also delete entries without a date")

    text = "copy a bank from another storage (gs://, s3://, hdfs://), or to it"
    copy = add("copy", _copy, f"{text}; other flags, such as --s3_endpoint_url, go to Beam")
    copy.set_defaults(passes_flags_on=True)
    copy.add_argument("source", help="folder of the bank")
    copy.add_argument("folder", help="folder to write; a bank in it is replaced")

    recover = add("recover", _recover, "finish or undo a change that was interrupted")
    recover.add_argument("folder", help="folder of the bank")


def _add_detection_api(add: Callable[..., argparse.ArgumentParser]) -> None:
    export = add(
        "export",
        _export,
        "write examples with the memory that the Object Detection API's Context R-CNN reads",
    )
    export.add_argument("folder", help="folder of the bank")
    export.add_argument("--examples", required=True, help="folder of examples, or a file pattern")
    export.add_argument("--output_dir", required=True, help="folder to write")
    export.add_argument(
        "--kind",
        choices=["embedding", "context"],
        default="context",
        help="memory in each example: the image's own entries (image/embedding), or a copy of its "
        "camera's bank (image/context_features) (default: context)",
    )
    export.add_argument(
        "--max_entries",
        type=int,
        default=2000,
        help="largest number of entries in a copy (default: 2000)",
    )
    export.add_argument(
        "--horizon",
        choices=["minute", "hour", "day", "week", "month", "any"],
        default="month",
        help="time that a copy covers: the calendar minute, hour, day, week or month of the image, "
        "or any time (default: month)",
    )
    _add_encoding(export)

    imports = add(
        "import",
        _import,
        "make a bank from the memory in the Object Detection API's examples or sequence examples",
    )
    imports.add_argument("folder", help="folder of the new bank; a bank in it is replaced")
    imports.add_argument("--examples", required=True, help="folder of examples, or a file pattern")
    imports.add_argument(
        "--kind",
        choices=["embedding", "context"],
        help="memory to read, image/embedding or image/context_features (default: what is there)",
    )
    imports.add_argument(
        "--extractor_hash",
        default="imported",
        help="hash of the extractor that made the features, if this package made it "
        "(default: imported)",
    )
    imports.add_argument(
        "--dtype",
        choices=["float16", "bfloat16", "float32", "int8"],
        default="float16",
        help="type of the features in the bank (default: float16)",
    )
    imports.add_argument("--num_shards", type=int, default=16, help="number of files (default: 16)")
    imports.add_argument(
        "--images",
        metavar="FOLDER",
        default="",
        help="folder for the images and labels of sequence examples, as examples to train on",
    )
    imports.add_argument(
        "--unboxed_are_empty",
        action="store_true",
        help="use images without boxes as empty images, which teach what background is; sequence "
        "examples do not say whether they are empty",
    )
    _add_encoding(imports)


def _add_encoding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoding",
        choices=["released", "paper"],
        default="released",
        help="encoding of place and time in the examples (default: released, that of the old tool)",
    )


def _inspect(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.data import console
    from context_rcnn.memory_bank import maintenance
    from context_rcnn.memory_bank.store import Bank

    bank = Bank.open(args.folder)
    report = maintenance.summary(bank)
    days = maintenance.coverage(bank) if args.days or args.plot else {}
    if args.plot:
        _plot(days, args.plot)
    if args.json:
        print(json.dumps(report | ({"days": days} if args.days else {}), indent=1))
        return 0
    print(
        f"{report['entries']} entries of {report['images']} images and {report['cameras']} "
        f"cameras, {report['bytes'] / 1e6:.1f} MB\n"
        f"{report['depth']} numbers of {report['feature_source']} as {report['dtype']}, "
        f"extractor {report['extractor_hash']}\n"
    )
    columns = ("entries", "images", "undated", "first", "last")
    rows = [("camera", *columns)]
    for name, row in report["by_camera"].items():
        rows.append((name, *(str("-" if row[c] is None else row[c]) for c in columns)))
    lines = console.table(rows).splitlines()
    print(lines[0])
    for name, line in zip(report["by_camera"], lines[1:], strict=True):
        print(line)
        for day, count in days.get(name, {}).items() if args.days else ():
            print(f"  {day}  {count}")
    if report["dropped"]:
        print("\nleft out: " + ", ".join(f"{k} {v}" for k, v in report["dropped"].items()))
    return 0


def _plot(days: dict[str, dict[str, int]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    names = sorted(days)
    dates = sorted({day for counts in days.values() for day in counts if day != "undated"})
    if not dates:
        raise ValueError("there is nothing to plot: no entry has a date")
    axis = np.arange(np.datetime64(dates[0]), np.datetime64(dates[-1]) + 1)
    table = np.array([[days[name].get(str(day), 0) for day in axis] for name in names], float)
    table[table == 0] = np.nan
    figure, axes = plt.subplots(figsize=(10, 1.5 + 0.22 * len(names)), layout="constrained")
    image = axes.pcolormesh(axis, np.arange(len(names)), table, shading="nearest", cmap="viridis")
    axes.set_yticks(np.arange(len(names)), names, fontsize=7)
    axes.set_xlabel("day")
    figure.colorbar(image, label="entries")
    figure.autofmt_xdate()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _nearest(args: argparse.Namespace, rest: list[str]) -> int:
    import numpy as np

    from context_rcnn.memory_bank import maintenance
    from context_rcnn.memory_bank.store import Bank

    bank = Bank.open(args.folder)
    if args.camera not in bank:
        raise ValueError(f"{args.folder} has no camera {args.camera!r}")
    camera = bank.camera(args.camera)
    (found,) = np.nonzero((camera.image_ids == args.image_id) & (camera.ranks == args.rank))
    if not len(found):
        raise ValueError(
            f"camera {args.camera!r} has no entry of image {args.image_id!r} with rank {args.rank}"
        )
    cameras = None if args.all_cameras else [args.camera]
    for row in maintenance.nearest(bank, camera.features.read(found)[0], args.count, cameras):
        print(json.dumps(row))
    return 0


def _verify(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.memory_bank import maintenance

    problems = maintenance.verify(args.folder)
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems")
    return 1 if problems else 0


def _merge(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.memory_bank import maintenance

    return _say(maintenance.merge(args.sources, args.folder, dtype=args.dtype))


def _prune(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.memory_bank import maintenance
    from context_rcnn.memory_bank.curation import CameraOptions

    options = CameraOptions(max_entries=args.max_entries, policy=args.policy)
    return _say(maintenance.prune(args.folder, options))


def _delete(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.data import console
    from context_rcnn.memory_bank import maintenance, writer
    from context_rcnn.memory_bank.store import Bank

    bounds = {name: _seconds(getattr(args, name), name) for name in ("first", "last")}
    writer.recover(args.folder)
    bank = Bank.open(args.folder)
    if missing := [name for name in args.camera or () if name not in bank]:
        near = difflib.get_close_matches(missing[0], list(bank.cameras), n=3, cutoff=0.5)
        rather = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(
            f"{args.folder} has no camera {', '.join(map(repr, missing))}, nothing is deleted"
            f"{rather} (context-rcnn bank inspect lists the cameras)"
        )
    before = {name: info.entries for name, info in bank.manifest.cameras.items()}
    after = maintenance.delete(args.folder, cameras=args.camera, undated=args.undated, **bounds)
    deleted = 0
    for name, count in before.items():
        left = after.cameras[name].entries if name in after.cameras else 0
        if left < count:
            print(f"deleted {count - left:,} of {count:,} entries of camera {console.shown(name)}")
        deleted += count - left
    _say(after)
    if not deleted:
        print("nothing matches, so nothing is deleted")
    return 0 if deleted else 1


def _copy(args: argparse.Namespace, rest: list[str]) -> int:
    from tqdm import tqdm

    from beam_pipelines.copy_bank import copy_bank

    def progress(files):
        return tqdm(files, "copy", unit="file")

    return _say(copy_bank(args.source, args.folder, progress, rest))


def _export(args: argparse.Namespace, rest: list[str]) -> int:
    from tqdm import tqdm

    from context_rcnn.memory_bank import api_files
    from context_rcnn.memory_bank.window import WindowOptions

    with tqdm(desc="export", unit="image") as bar:
        counts = api_files.export_examples(
            args.folder,
            api_files.find_files(args.examples),
            args.output_dir,
            args.kind,
            options=WindowOptions(args.horizon, calendar=True),
            max_entries=args.max_entries,
            variant=args.encoding,
            progress=bar.update,
        )
    return _tell(counts, args.output_dir)


def _import(args: argparse.Namespace, rest: list[str]) -> int:
    from tqdm import tqdm

    from context_rcnn.memory_bank import api_files

    with tqdm(desc="import", unit="image") as bar:
        manifest, counts = api_files.import_examples(
            api_files.find_files(args.examples),
            args.folder,
            args.kind,
            extractor_hash=args.extractor_hash,
            dtype=args.dtype,
            num_shards=args.num_shards,
            variant=args.encoding,
            images_dir=args.images,
            unboxed_are_empty=args.unboxed_are_empty,
            progress=bar.update,
        )
    _say(manifest)
    return _tell(counts, args.folder)


def _tell(counts: dict[str, int], folder: str) -> int:
    from context_rcnn.memory_bank.api_files import FAILURES

    print(", ".join(f"{name} {count}" for name, count in counts.items()) or "no images")
    print(f"{folder}/{FAILURES} lists everything that could not be used")
    return 0 if counts["images"] else 1


def _recover(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.memory_bank import writer

    finished = writer.recover(args.folder)
    print("an interrupted change was finished" if finished else "there was no change to finish")
    return 0


def _seconds(text: str | None, flag: str) -> int | None:
    from context_rcnn.data.timestamps import parse_timestamp

    if text is None:
        return None
    try:
        seconds = parse_timestamp(text)
    except ValueError as error:
        raise ValueError(f"--{flag}: {error}") from None
    if seconds is None:
        raise ValueError(f"--{flag}: not a date like 2022-12-31 09:52:50: {text!r}")
    return seconds


def _say(manifest) -> int:
    totals = manifest.totals()
    print(f"{totals['entries']} entries of {totals['cameras']} cameras are in the bank")
    return 0


def _add_remember(verbs: argparse._SubParsersAction) -> None:
    verbs.add_parser(
        "remember",
        add_help=False,
        help="build or update memory banks, with Beam (`context-rcnn remember --help`)",
    ).set_defaults(run=_remember, passes_flags_on=True)


def _add_features(verbs: argparse._SubParsersAction) -> None:
    verbs.add_parser(
        "features",
        add_help=False,
        help="store what a frozen detector sees, to learn a memory on, with Beam "
        "(`context-rcnn features --help`)",
    ).set_defaults(run=_features, passes_flags_on=True)


def _features(args: argparse.Namespace, rest: list[str]) -> int:
    from beam_pipelines import store_features

    return store_features.main(rest)


def _remember(args: argparse.Namespace, rest: list[str]) -> int:
    from beam_pipelines import build_memory_bank

    return build_memory_bank.main(rest)
