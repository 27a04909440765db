"""`context-rcnn cost`: what a model costs for each image or frame, before it is trained."""

import argparse
import json

from context_rcnn.configs.flags import add_experiment_flags, experiment_of

MILLION = 10**6


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the verb of this file."""
    cost = verbs.add_parser(
        "cost",
        help="count what a model costs for each image or frame, before it is trained",
        description="Counts the multiply-adds of one image or frame by part of the model, the "
        "weights, the largest tensor and the state of a video, next to the same detector without "
        "its memory. Any setting may be changed to see what it costs; nothing is trained or read.",
        epilog="example:\n  context-rcnn cost --experiment=mega_dc5 --measure 5 \\\n"
        "    --params_override=task.temporal.mega.memory_frames=10",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_experiment_flags(cost)
    cost.add_argument("--num_classes", type=int, default=30, help="number of classes (default: 30)")
    cost.add_argument(
        "--measure",
        type=int,
        default=0,
        metavar="ROUNDS",
        help="number of timed runs of each of the two on this machine; their medians are shown too "
        "(default: none)",
    )
    cost.add_argument("--json", metavar="FILE", help="also write all numbers as JSON")
    cost.set_defaults(run=lambda args, rest: _cost(args, cost))


def _cost(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from context_rcnn.tasks.cost import compare

    if args.measure == 1 or args.measure < 0:
        parser.error("--measure: a median takes at least 2 rounds")
    found = compare(experiment_of(args, parser), args.num_classes, args.measure)
    print(as_text(found))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(found, file, indent=1)
    return 0


def as_text(found: dict) -> str:
    """The table that is printed, from the result of `tasks.cost.compare`."""
    model, alone = found["model"], found.get("without_memory")
    columns = [alone, model] if alone else [model]
    names = ["without memory", "this model", "times"] if alone else ["this model"]
    rows = [["", *names]]

    def row(name: str, values: list[float | None], digits: int = 1) -> None:
        cells = ["-" if value is None else f"{value:,.{digits}f}" for value in values]
        if alone:
            before, now = values
            cells.append(f"{now / before:.2f}" if before and now else "")
        rows.append([name, *cells])

    parts = dict.fromkeys(part for column in columns for part in column["products"])
    for part in parts:
        row(part, [column["products"].get(part, 0) / MILLION for column in columns])
    totals = [sum(column["products"].values()) / MILLION for column in columns]
    row("all, million multiply-adds", totals)
    row("weights, million", [column["weights"] / MILLION for column in columns], 2)
    if any(column["images"] > 1 for column in columns):
        row("images of a step", [column["images"] for column in columns], 0)
    row("largest tensor, MiB", [column["largest_bytes"] / 2**20 for column in columns])
    states = [column["state_bytes"] for column in columns]
    row("state of a video, MiB", [None if s is None else s / 2**20 for s in states])
    if "seconds" in model:
        row("ms, median", [1000 * column["seconds"] for column in columns])
        row("+-", [1000 * column["spread"] for column in columns])
        rows[-1][3:] = [""] if alone else []
    widths = [max(len(line[i]) for line in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in rows
    )
