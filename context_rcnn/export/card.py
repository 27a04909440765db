"""The model card of an export: what the model is, learned from, reaches, and is meant for.

    EXPORT/model_card.json   for programs
    EXPORT/model_card.md     the same for people

What is not known is null, and "unknown" for people; nothing is guessed. Names of cameras are left
out, because they may tell where rare animals live.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from context_rcnn.data import input as input_lib

FORMAT = "context-rcnn-model-card"
FORMAT_VERSION = 1
CARD, PAGE = "model_card.json", "model_card.md"
PARAMS = "params.yaml"

TOLD = {
    "made_by": "made by",
    "licence": "licence",
    "intended_use": "intended use",
    "not_for": "not for",
    "data": "about the data",
    "notes": "notes",
}
"""What only a person can tell, in the file of `--card`, and its heading on the page."""
_ALSO = {"license": "licence"}
_LEARNING = ("boxed", "empty")  # label states of images that train


def make_card(
    description: Mapping[str, Any], trained: Any, params: bytes, told: Mapping[str, str | None]
) -> dict[str, Any]:
    """The card of a model.

    Args:
        description: the export's model.json.
        trained: the model with its run, a `tasks.loading.Trained`.
        params: the export's params.yaml.
        told: what a person says of it, from `read_told`.
    """
    config, folder, checkpoint = trained.config, trained.folder, trained.checkpoint
    # Folders of tracklets have no manifest.
    learned = learned_from(config.task.train_data.input_path) if "classes" in description else None
    by_class = (learned or {}).get("boxes_by_class")
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": description["name"],
        "version": description["version"],
        "model_hash": description["hash"],
        "settings_hash": hashlib.sha256(params).hexdigest(),
        "checkpoint": "/".join(checkpoint.replace("\\", "/").split("/")[-2:]) or None,
        "told": dict(told),
        "model": _model(description, config),
        "classes": [
            {
                "id": int(number),
                "name": name,
                "training_boxes": None if by_class is None else by_class.get(name, 0),
            }
            for number, name in description.get("classes", {}).items()
        ],
        "training": learned,
        "evaluation": last_evaluation(folder, checkpoint) if folder else None,
    }


def read_told(path: str) -> dict[str, str | None]:
    """Reads what a person says of a model from a YAML or JSON file; without a path, all is None.

    Raises:
        ValueError: With file and field, if the file has anything but texts by the names of `TOLD`.
    """
    if not path:
        return dict.fromkeys(TOLD)
    import yaml

    if not tf.io.gfile.exists(path):
        raise ValueError(f"--card {path}: no such file")
    with tf.io.gfile.GFile(path) as file:
        try:
            given = yaml.safe_load(file.read())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            brief = " ".join(str(error).split())[:200]
            raise ValueError(f"--card {path}: neither YAML nor JSON: {brief}") from None
    if not isinstance(given, dict):
        raise ValueError(f"--card {path}: expected lines like `licence: CC BY 4.0`")
    told: dict[str, str | None] = dict.fromkeys(TOLD)
    for field, value in given.items():
        name = _ALSO.get(field, field)
        if name not in TOLD:
            raise ValueError(f"--card {path}: {field!r} is not one of {', '.join(TOLD)}")
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"--card {path}: {field}: expected a text, got {value!r:.80}")
        told[name] = value.strip()
    return told


def learned_from(input_path: str) -> dict[str, Any] | None:
    """What examples hold that a model was trained with, from their manifests; None if unknown.

    `images` are those that train: with boxes, or known to be empty. What a manifest counts for a
    whole split (cameras, boxes, times) is None where only some files of the split were used.

    Args:
        input_path: `task.train_data.input_path` of the run.
    """
    try:
        files = input_lib.find_files(input_path)
    except (ValueError, tf.errors.OpError):
        return None
    used: dict[str, set[str]] = {}
    for file in files:
        folder, name = os.path.split(file)
        used.setdefault(folder, set()).add(name)
    parts = [_learned(_read_json(os.path.join(f, "manifest.json")), used[f]) for f in sorted(used)]
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    cameras = [part["cameras"] for part in known]
    times = [part[edge] for part in known for edge in ("first", "last") if part[edge]]
    return {
        "images": sum(part["images"] for part in known),
        "empty_images": sum(part["empty_images"] for part in known),
        "boxes": _sum(part["boxes"] for part in known),
        "boxes_by_class": _sum_by_class([part["boxes_by_class"] for part in known]),
        "cameras": None if None in cameras else len(set().union(*cameras)),
        "first": min(times, default=None) if all(part["first"] for part in known) else None,
        "last": max(times, default=None) if all(part["last"] for part in known) else None,
    }


def last_evaluation(folder: str, checkpoint: str) -> dict[str, Any] | None:
    """The numbers of a run's evaluation of a checkpoint, or else of its last one; None without any.

    `of_this_model` says which of the two it is. `thresholds` are the scores at which the detector
    finds given shares of the labelled objects, with what it then reports on empty images.

    Args:
        folder: folder of the run, or a checkpoint in it.
        checkpoint: checkpoint that is exported; its number is the step.
    """
    number = re.search(r"-(\d+)$", checkpoint)
    found = tf.io.gfile.glob(os.path.join(_run_of(folder), "evaluation", "step-*", "metrics.json"))
    steps = {int(m[1]): path for path in found if (m := re.search(r"step-(\d+)\W", path))}
    if not steps:
        return None
    exported = int(number[1]) if number else None
    step = exported if exported in steps else max(steps)
    metrics = _read_json(steps[step])
    if metrics is None:
        return None
    empties = metrics.get("false_positives_per_1000_empty_images", {})
    by_class = metrics.get("per_class", {})
    return {
        "step": step,
        "of_this_model": step == exported,
        "images": metrics.get("images"),
        "empty_images": metrics.get("empty_images"),
        "boxes": metrics.get("boxes"),
        "cameras": len(metrics["per_camera"]) if "per_camera" in metrics else None,
        "metrics": {name: value for name, value in metrics.items() if isinstance(value, float)},
        "AP@.5_by_class": {name: row.get("AP@.5") for name, row in by_class.items()},
        "thresholds": [
            {
                "recall": float(recall),
                "score": row["threshold"],
                "detections_per_1000_empty_images": row["detections"],
            }
            for recall, row in empties.items()
            if row["threshold"] is not None
        ],
    }


def _run_of(path: str) -> str:
    """The folder of the run that a folder of checkpoints or a checkpoint belongs to."""
    folder = path if tf.io.gfile.isdir(path) else os.path.dirname(path)
    above = os.path.dirname(folder.rstrip("/"))
    if tf.io.gfile.exists(os.path.join(folder, PARAMS)):
        return folder
    return above if tf.io.gfile.exists(os.path.join(above, PARAMS)) else folder


def write_card(
    folder: str, description: Mapping[str, Any], trained: Any, told: Mapping[str, str | None]
) -> None:
    """Writes both files of the card of an export whose params.yaml is there; see `make_card`."""
    with tf.io.gfile.GFile(os.path.join(folder, PARAMS), "rb") as file:
        card = make_card(description, trained, file.read(), told)
    for name, text in ((CARD, json.dumps(card, indent=1) + "\n"), (PAGE, as_page(card))):
        with tf.io.gfile.GFile(os.path.join(folder, name), "w") as file:
            file.write(text)


def read_card(folder: str) -> dict[str, Any] | None:
    """The card of an export; None for an export of a version that wrote none.

    Raises:
        ValueError: If what is there is no card, or a newer one.
    """
    path = os.path.join(folder, CARD)
    if not tf.io.gfile.exists(path):
        return None
    card = _read_json(path)
    if card is None or card.get("format") != FORMAT:
        raise ValueError(f"{path} is no model card: export the model again")
    if card["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"{path}: format version {card['format_version']} is newer than this program, which "
            f"reads up to {FORMAT_VERSION}; update it"
        )
    return card


def as_page(card: Mapping[str, Any]) -> str:
    """The card in Markdown."""
    sections = [
        f"# {card['name'] or 'A model'}",
        _bullets(
            made_by=_text(card["told"]["made_by"]),
            licence=_text(card["told"]["licence"]),
            model_hash=f"`{card['model_hash']}`",
            settings_hash=f"`{card['settings_hash']}` (SHA-256 of params.yaml)",
            written_by=f"context-rcnn {card['version']}",
        ),
        *(
            f"## {heading.capitalize()}\n\n{_text(card['told'][name])}"
            for name, heading in TOLD.items()
            if name in ("intended_use", "not_for") or card["told"][name]
            if name not in ("made_by", "licence")
        ),
        f"## What it is\n\n{_bullets(**card['model'])}",
        f"## What it learned from\n\n{_training(card)}",
        f"## What it reaches\n\n{_evaluation(card['evaluation'])}",
    ]
    return "\n\n".join(sections) + "\n"


def _model(description: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """What is inside, in few words; model.json and params.yaml have all of it."""
    size = " x ".join(map(str, description["image_size"]))
    if "classes" not in description:
        frames = {"frames": description["frames"], "features": description["depth"]}
        return {"kind": "re-identification of tracklets", "image_size": size, **frames}
    backbone, memory, stream = (
        config.task.model.backbone,
        description["memory"],
        description["stream"],
    )
    return {
        "kind": "detector",
        "backbone": backbone.kind,
        "layers": backbone.model_id,
        "image_size": size,
        "boxes": "of another detector" if description["proposals"] else "its own",
        "temporal": config.task.temporal.type,
        "memory": "none" if memory is None else dict(memory),
        "frame_by_frame": "no" if stream is None else f"{stream['latency']} frames late",
    }


def _learned(manifest: dict[str, Any] | None, files: set[str]) -> dict[str, Any] | None:
    """What these files of a folder of examples hold; None if its manifest does not know them."""
    shards = {shard["file"]: shard for shard in (manifest or {}).get("shards", ())}
    if manifest is None or not files <= set(shards):
        return None
    used = [shards[file] for file in sorted(files)]
    splits = {shard["split"] for shard in used}
    whole = all(name in files for name, shard in shards.items() if shard["split"] in splits)
    facts = [manifest["splits"][split] for split in sorted(splits)] if whole else []
    totals = [fact["total"] for fact in facts]
    return {
        "images": sum(shard[state] for shard in used for state in _LEARNING),
        "empty_images": sum(shard["empty"] for shard in used),
        "boxes": sum(total["boxes"] for total in totals) if whole else None,
        "boxes_by_class": _sum_by_class([f.get("boxes_by_class") for f in facts]),
        "cameras": set().union(*(fact["cameras"] for fact in facts)) if whole else None,
        "first": min((t["first"] for t in totals if t["first"]), default=None),
        "last": max((t["last"] for t in totals if t["last"]), default=None),
    }


def _sum(parts: Any) -> int | None:
    parts = list(parts)
    return None if None in parts else sum(parts)


def _sum_by_class(parts: Sequence[Mapping[str, int] | None]) -> dict[str, int] | None:
    """Boxes by class of all parts; None if one does not know its own."""
    total: dict[str, int] = {}
    for part in parts:
        if part is None:
            return None
        for name, number in part.items():
            total[name] = total.get(name, 0) + number
    return total if parts else None


def _training(card: Mapping[str, Any]) -> str:
    learned = card["training"]
    facts = {"checkpoint": card["checkpoint"]}
    if learned is None:
        facts |= dict.fromkeys(("images", "boxes", "cameras", "time"))
    else:
        times = (learned["first"], learned["last"])
        facts |= {
            "images": f"{learned['images']:,}, of which {learned['empty_images']:,} are empty",
            "boxes": learned["boxes"],
            "cameras": learned["cameras"],
            "time": None if None in times else " to ".join(times),
        }
    rows = [
        (str(row["id"]), _cell(row["name"]), _number(row["training_boxes"]))
        for row in card["classes"]
    ]
    table = _table(("id", "class", "training boxes"), rows) if rows else "No classes."
    return f"{_bullets(**facts)}\n\n{table}"


def _evaluation(evaluation: Mapping[str, Any] | None) -> str:
    if evaluation is None:
        return "Unknown: the run has no evaluation."
    of = "this model" if evaluation["of_this_model"] else "another checkpoint of the run"
    counts = ("images", "empty_images", "boxes", "cameras")
    facts = {"step": f"{evaluation['step']}, of {of}"} | {n: evaluation[n] for n in counts}
    rows = [(name, _number(value)) for name, value in evaluation["metrics"].items()]
    parts = [_bullets(**facts), _table(("metric", "value"), rows)]
    if by_class := evaluation["AP@.5_by_class"]:
        rows = [(_cell(name), _number(value)) for name, value in by_class.items()]
        parts.append(_table(("class", "AP@.5"), rows))
    if evaluation["thresholds"]:
        scores = [[_number(value) for value in row.values()] for row in evaluation["thresholds"]]
        head = ("share of objects found", "score from", "detections per 1000 empty images")
        parts.append(f"Suggested thresholds:\n\n{_table(head, scores)}")
    return "\n\n".join(parts)


def _bullets(**facts: Any) -> str:
    return "\n".join(f"- {n.replace('_', ' ')}: {_number(value)}" for n, value in facts.items())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: Any) -> str:
    """A value for people."""
    if value is None or value == "":
        return "unknown"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_number(part)}" for name, part in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _text(value: str | None) -> str:
    return value or "unknown"


def _cell(text: str) -> str:
    """A name in a table, where a bar would end the cell."""
    return text.replace("|", "\\|")


def _read_json(path: str) -> dict[str, Any] | None:
    """An object from a file; None if there is none that can be read."""
    if not tf.io.gfile.exists(path):
        return None
    try:
        with tf.io.gfile.GFile(path) as file:
            content = json.load(file)
    except (ValueError, tf.errors.OpError):
        return None
    return content if isinstance(content, dict) else None
