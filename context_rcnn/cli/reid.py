"""`context-rcnn reid`: who is who in tracklets of people or animals."""

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

# Imported inside the verbs: models and TensorFlow are not needed for --help.

_EXAMPLES = """\
examples:
  Embed all tracklets below a folder, identity/camera_tracklet/*.jpg; run again, it embeds what is
  new:
    context-rcnn reid index leopards --model models/leopard_reid -o leopards.index

  Which known animals look most like the unknown ones, as a table and a page:
    context-rcnn reid search leopards.index --unknown --csv who.csv --page who

  From videos to tracklets, with the results of `context-rcnn videos`:
    context-rcnn reid tracks clips --results clips/results.json.state -o tracklets

docs/reid.md has a whole example.
"""


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the verb of this file."""
    reid = verbs.add_parser(
        "reid",
        help="tell who is who in tracklets of people or animals",
        description="Re-identification: embeds tracklets with an exported model, searches among "
        "them, and shows what it finds.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = reid.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_index(actions)
    _add_search(actions)
    _add_tracks(actions)
    _add_validate(actions)
    _add_average(actions)


def _action(actions: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:
    return actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")


def _add_layout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layout",
        default="folder",
        choices=["folder", "mars", "duke_video", "ilids_vid", "prid2011"],
        help="layout of the folder (default: folder, identity/camera_tracklet/*.jpg)",
    )
    parser.add_argument(
        "--split",
        type=int,
        default=0,
        help="number of the split of iLIDS-VID and PRID-2011, from 0 on (default: 0)",
    )


def _add_index(actions: argparse._SubParsersAction) -> None:
    parser = _action(actions, "index", "embed the tracklets of a folder with an exported model")
    parser.add_argument("folder", help="folder of the tracklets")
    parser.add_argument(
        "--model", required=True, metavar="DIR", help="folder that `context-rcnn export` wrote"
    )
    parser.add_argument(
        "-o", "--output_dir", required=True, metavar="DIR", help="folder of the index to write"
    )
    _add_layout(parser)
    parser.add_argument(
        "--sampling",
        default="restricted",
        choices=["restricted", "first_interval", "dense"],
        help="frames that stand for a tracklet: the first of each of equal parts, the first ones, "
        "or all of them in clips (default: restricted)",
    )
    parser.add_argument(
        "--batch_size", type=int, default=16, help="number of clips per call (default: 16)"
    )
    parser.set_defaults(run=_index)


def _index(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.export.embedder import ExportedEmbedder
    from context_rcnn.runners.reid.index import IndexOptions, index_tracklets

    options = IndexOptions(
        args.folder,
        args.output_dir,
        layout=args.layout,
        split=args.split,
        sampling=args.sampling,
        batch_size=args.batch_size,
    )
    summary = index_tracklets(options, ExportedEmbedder(args.model))
    print(summary.to_text())
    print(f"index written to {args.output_dir}")
    return 0 if summary.tracklets else 1


def _add_search(actions: argparse._SubParsersAction) -> None:
    parser = _action(
        actions, "search", "list, for each query, the tracklets of an index that look most like it"
    )
    parser.add_argument(
        "index", help="folder of an index, or of an evaluation (MODEL_DIR/evaluation/step-N)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--query", metavar="DIR", help="index with the queries (default: those of the index itself)"
    )
    which.add_argument(
        "--tracklet",
        action="append",
        default=[],
        metavar="NAME",
        help="name of a tracklet of the index to ask for; may be repeated",
    )
    which.add_argument(
        "--unknown",
        action="store_true",
        help="search for each tracklet without a name among those that have one",
    )
    parser.add_argument(
        "--top", type=int, default=5, help="number of answers per query (default: 5)"
    )
    parser.add_argument(
        "--other_cameras", action="store_true", help="look only in other cameras than the query's"
    )
    parser.add_argument("--csv", metavar="FILE", help="table to write, one row per answer")
    parser.add_argument("--page", metavar="DIR", help="folder of a page to write")
    parser.add_argument(
        "--model",
        metavar="DIR",
        help="exported model, to show on the page what counts in each query",
    )
    parser.add_argument(
        "--max_queries", type=int, default=24, help="number of queries on the page (default: 24)"
    )
    parser.add_argument(
        "--people",
        type=int,
        default=20,
        help="number of identities in the page's picture of features (default: 20)",
    )
    parser.add_argument("--title", default="", help="title of the page")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the page's choice of queries (default: 0)"
    )
    parser.set_defaults(run=_search)


def _search(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.evaluation.embeddings import read_embeddings
    from context_rcnn.runners.reid.search import choose, in_words, search, write_table

    if args.top < 1:
        raise ValueError(f"--top must be at least 1, got {args.top}")
    gallery = read_embeddings(args.index)
    query = read_embeddings(args.query) if args.query else gallery
    among = list(range(len(gallery.tracklets)))
    if args.unknown:
        asked = [i for i in among if not gallery.tracklets[i].identity]
        among = [i for i in among if gallery.tracklets[i].identity]
    else:
        asked = choose(query, args.tracklet)
    if not asked:
        raise ValueError(f"{args.index}: there is nothing to ask for")
    found = search(query, asked, gallery, among, count=args.top, other_cameras=args.other_cameras)
    if args.csv:
        write_table(Path(args.csv), query, asked, gallery, found)
        print(f"table written to {args.csv}")
    if args.page:
        print(f"Look at {_write_page(args, query, asked, gallery, found)}")
    if not (args.csv or args.page):
        for number, answers in zip(asked, found, strict=True):
            print(in_words(query, number, gallery, answers))
    return 0


def _write_page(args: argparse.Namespace, query, asked, gallery, found) -> str:
    from tqdm import tqdm

    from context_rcnn.report.reid_page import SheetOptions, write_sheet

    metrics = os.path.join(args.index, "metrics.json")
    measured: dict[str, Any] = {}
    if os.path.isfile(metrics) and not (args.query or args.tracklet or args.unknown):
        measured = json.loads(Path(metrics).read_text(encoding="utf-8"))
    options = SheetOptions(
        args.page,
        title=args.title,
        max_queries=args.max_queries,
        people=args.people,
        seed=args.seed,
    )
    return write_sheet(
        options,
        query,
        asked,
        gallery,
        found,
        active=_activations(args.model) if args.model else None,
        metrics=measured,
        progress=lambda items, total: tqdm(items, "queries", total, disable=None),
    )


def _activations(folder: str):
    """From a clip of any length and size to how strongly the cells of its frames count."""
    import numpy as np
    from PIL import Image

    from context_rcnn.export.embedder import ExportedEmbedder

    model = ExportedEmbedder(folder)
    frames, height, width, _ = model.clip_shape

    def active(clip):
        resized = [np.asarray(Image.fromarray(f).resize((width, height))) for f in clip]
        filled = np.stack([resized[i * len(resized) // frames] for i in range(frames)])
        found = model.activations(filled[None])[0]
        return np.stack([found[i * frames // len(resized)] for i in range(len(resized))])

    return active


def _add_tracks(actions: argparse._SubParsersAction) -> None:
    parser = _action(
        actions, "tracks", "make tracklets of the boxes that `context-rcnn videos` has found"
    )
    parser.add_argument("folder", help="folder of the videos")
    parser.add_argument(
        "--results",
        required=True,
        metavar="STATE",
        help="state folder of `context-rcnn videos`, such as clips/results.json.state",
    )
    parser.add_argument(
        "-o", "--output_dir", required=True, metavar="DIR", help="folder to write, not there yet"
    )
    parser.add_argument(
        "--min_score",
        type=float,
        default=0.3,
        metavar="P",
        help="lowest score of a box that takes part (default: 0.3)",
    )
    parser.add_argument(
        "--min_frames", type=int, default=4, help="length of the shortest tracklet (default: 4)"
    )
    parser.add_argument(
        "--category",
        action="append",
        default=[],
        metavar="NAME",
        help="class whose boxes take part; may be repeated (default: all)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=0.05,
        help="share of a box's sides that is added all around (default: 0.05)",
    )
    parser.add_argument(
        "--link_iou",
        type=float,
        default=0.5,
        help="IoU above which boxes of neighbouring frames are linked (default: 0.5)",
    )
    parser.add_argument(
        "--fps",
        type=float,
        metavar="N",
        help="frames per second that `videos` was run with (default: all)",
    )
    parser.set_defaults(run=_tracks)


def _tracks(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.runners.reid.tracks import TrackOptions, write_tracks

    options = TrackOptions(
        args.folder,
        args.results,
        args.output_dir,
        min_score=args.min_score,
        min_frames=args.min_frames,
        classes=tuple(args.category),
        margin=args.margin,
        link_iou=args.link_iou,
        fps=args.fps,
    )
    summary = write_tracks(options)
    print(summary.to_text())
    print(f"tracklets written to {args.output_dir}")
    return 0 if summary.tracks else 1


def _add_validate(actions: argparse._SubParsersAction) -> None:
    parser = _action(
        actions, "validate", "open every image of a data set, and list what cannot be used"
    )
    parser.add_argument("folder", help="folder of the data set")
    _add_layout(parser)
    parser.add_argument("--json", metavar="FILE", help="file for the failures, JSON lines")
    parser.set_defaults(run=_validate)


def _validate(args: argparse.Namespace, rest: list[str]) -> int:
    from collections import Counter

    from tqdm import tqdm

    from context_rcnn.data.failures import to_jsonl
    from context_rcnn.data.readers.tracklet_layouts import TrackletOptions, read_tracklets
    from context_rcnn.data.tracklet_images import check_tracklets
    from context_rcnn.data.tracklets import count

    found = read_tracklets(TrackletOptions(args.folder, args.layout, split=args.split))
    members = [tracklet for part in found.parts.values() for tracklet in part]
    failures = list(found.failures)
    failures += check_tracklets(
        args.folder, tqdm(members, "validate", unit="tracklet", disable=None)
    )
    for name, part in found.parts.items():
        print(f"{name:8} {count(part)}, {sum(len(t.frames) for t in part)} images")
    print(f"split    {found.split}")
    for name, number in sorted(found.notes.items()):
        print(f"note     {name.replace('_', ' ')}: {number}")
    reasons = Counter(str(failure.reason) for failure in failures)
    for reason, number in sorted(reasons.items()):
        first = next(f for f in failures if str(f.reason) == reason)
        where = repr(first.file)[1:-1]
        print(f"failure  {reason}: {number}, such as {where}: {first.detail}")
    if args.json:
        Path(args.json).write_text(to_jsonl(failures), encoding="utf-8")
    return 0 if members else 1


def _add_average(actions: argparse._SubParsersAction) -> None:
    parser = _action(
        actions, "average", "average the evaluations of several runs, such as those of ten splits"
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.set_defaults(run=_average)


def _average(args: argparse.Namespace, rest: list[str]) -> int:
    rows = [_last_metrics(run) for run in args.runs]
    for name in [n for n in rows[0] if n in ("mAP", "mINP") or n.startswith("Rank-")]:
        values = [row[name] for row in rows if row.get(name) is not None]
        if not values:
            continue
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        print(f"{name:8} {statistics.mean(values):.3f}{spread}   ({len(values)} runs)")
    return 0


def _last_metrics(run: str) -> dict[str, Any]:
    """Numbers of the last evaluation of a run."""
    found = list(Path(run, "evaluation").glob("step-*/metrics.json"))
    if not found:
        raise ValueError(f"{run}: holds no evaluation (no evaluation/step-*/metrics.json)")
    latest = max(found, key=lambda path: int(path.parent.name.rpartition("-")[2]))
    return json.loads(latest.read_text(encoding="utf-8"))
