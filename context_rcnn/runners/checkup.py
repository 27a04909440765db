"""What can be found out about an export without any data: `context-rcnn doctor --model`."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from context_rcnn.data.label_map import FILE_NAME, read_label_map
from context_rcnn.export import card, embedder, exported
from context_rcnn.runners.engine.detect import check_model, grey_image
from context_rcnn.runners.engine.model import MemorySettings, video_stream
from context_rcnn.runners.engine.steps import check_video_model

_OTHERS = {
    "extractor.json": "an extractor, which fills memory banks",
    "manifest.json": "a folder of data",
    "saved_model.pb": "the SavedModel inside an export: name the folder above it",
    "journal.jsonl": "the state of a run",
    "params.yaml": "a training run: make a model of it with `context-rcnn export`",
}
"""Files of folders that people take for an export, and what such a folder is."""
_PLAIN = ("detect", "detect_prepared")
_WITH_MEMORY = (
    "project",
    "detect_with_context",
    "detect_with_projected",
    "detect_prepared_with_projected",
    "explain_with_projected",
)
_GIVEN_WITH_MEMORY = ("project", "detect_with_proposals_and_projected")
_EMBEDDED = (
    "detect_embedded",
    "detect_embedded_with_projected",
    "explain_embedded_with_projected",
)


def check_export(folder: str) -> tuple[list[str], list[str]]:
    """Loads an exported model, and tries it.

    Returns:
        Lines for people on what it is, and its problems.

    Raises:
        ValueError: If the folder is no export, or its model cannot be loaded.
    """
    description = _describe(folder)
    reid = description["format"] == embedder.FORMAT
    try:
        model: Any = (embedder.ExportedEmbedder if reid else exported.ExportedModel)(folder)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        brief = str(error).removeprefix(f"{folder}: ").splitlines()[0][:200]
        raise ValueError(f"{folder}: its SavedModel cannot be used: {brief}") from None
    lines = [f"{description['name']}, exported by context-rcnn {description['version']}"]
    missing = sorted(signatures_of(description) - set(model.signatures))
    problems = [f"the SavedModel has no signature {name}: export it again" for name in missing]
    lines.append(f"signatures: {', '.join(sorted(model.signatures))}")
    if not reid:
        problems += _label_map_problems(folder, model.class_names)
        problems += _memory_problems(model)
        lines.append(f"classes: {len(model.class_names)}, from {FILE_NAME}")
        lines += _sizes(description)
    if not problems:
        lines += _try_out(model, reid)
    problems += _card_problems(folder, description)
    return lines, problems


def _describe(folder: str) -> dict[str, Any]:
    """model.json; ValueError that says what the folder is instead of an export."""
    place = Path(folder)
    if not place.is_dir():
        what = "a file" if place.exists() else "not there"
        raise ValueError(f"{folder} is {what}; name the folder that `context-rcnn export` wrote")
    path = place / exported.DESCRIPTION
    if not path.exists():
        what = next((words for name, words in _OTHERS.items() if (place / name).exists()), "")
        what = f"this is {what}" if what else f"it holds {_listed(place)}"
        raise ValueError(f"{folder} is not an exported model: no {exported.DESCRIPTION}; {what}")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if isinstance(description, dict) and description.get("format") == embedder.FORMAT:
        return embedder.read_description(folder)
    return exported.read_description(folder)


def _listed(place: Path) -> str:
    names = sorted(os.listdir(place))
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "nothing"


def signatures_of(description: Mapping[str, Any]) -> set[str]:
    """The signatures that a model of this description has."""
    if description["format"] == embedder.FORMAT:
        return {"serving_default", "activations"}
    stream, given = description["stream"] or {}, bool(description.get("proposals"))
    names = {"serving_default", *(("detect_with_proposals",) if given else _PLAIN)}
    if description["memory"]:
        names |= {*(_GIVEN_WITH_MEMORY if given else _WITH_MEMORY)}
    if description.get("embedded"):
        names |= {*_EMBEDDED}
    if description["extractor"]:
        names.add("extract")
    if stream:
        names |= {"initial_state", "step"}
    if stream.get("propagates"):
        names |= {"propagate", "anticipate"}
    if stream.get("looks"):
        names |= {"look", "step_with_looks"}
    if stream.get("two_speeds"):
        names |= {"initial_strong", "strong_step", "fast_step"}
    return names


def _label_map_problems(folder: str, classes: Mapping[int, str]) -> list[str]:
    try:
        labels = read_label_map(os.path.join(folder, FILE_NAME))
    except ValueError as error:
        return [str(error)]
    named = {number: name for name, number in labels.items()}
    wrong = sorted(n for n in {*named, *classes} if named.get(n) != classes.get(n))
    return [
        f"{FILE_NAME}: class {n} is {named.get(n)!r}, in {exported.DESCRIPTION} {classes.get(n)!r}"
        for n in wrong
    ]


def _memory_problems(model: exported.ExportedModel) -> list[str]:
    """Where the functions do not take entries of the size that the description names."""
    memory, problems = model.description["memory"], []
    for name in ("project", "detect_with_context") if memory else ():
        if name not in model.signatures:
            continue
        inputs = model.signatures[name].structured_input_signature[1]
        size = inputs["context_features"].shape[-1]
        if size != memory["entry_size"]:
            problems.append(
                f"{name} takes entries of {size} numbers, {exported.DESCRIPTION} says "
                f"{memory['entry_size']}"
            )
    if memory and model.extractor_hash:
        try:
            MemorySettings.of(model)
        except ValueError as error:
            problems.append(str(error))
    return problems


def _sizes(description: Mapping[str, Any]) -> list[str]:
    memory = description["memory"]
    if not memory:
        return []
    # Keys and values, float32.
    size = memory["max_entries"] * memory["blocks"] * memory["depth"] * 2 * 4
    lines = [
        f"memory: up to {memory['max_entries']:,} entries of {memory['entry_size']:,} numbers "
        f"from the last {memory['horizon']}; their keys and values take {size / 1e3:,.0f} kB"
    ]
    if not description["extractor"]:
        lines.append("without its extractor: it cannot fill its memory, and has no step")
    return lines


def _try_out(model: Any, reid: bool) -> list[str]:
    """Runs it once; what it raises is an error of the model."""
    if reid:
        model.embed(np.zeros([1, *model.clip_shape], np.uint8))
        return ["it embeds a tracklet"]
    stream = model.description["stream"]
    if video_stream(model.description):
        check_video_model(model, grey_image(), 1)
    else:
        settings = MemorySettings.of(model) if model.has_memory and model.extractor_hash else None
        check_model(model, settings, 1)
    lines = ["it detects in an image"]
    if stream is not None:
        size = sum(np.asarray(value).nbytes for value in model.initial_state(1).values())
        what = "camera" if "seconds" in stream["inputs"] else "video"
        lines.append(f"state of a {what} in step: {size / 1e3:,.0f} kB, which never grows")
    return lines


def _card_problems(folder: str, description: Mapping[str, Any]) -> list[str]:
    """Where the card is of another model, or of other settings."""
    known = card.read_card(folder)
    if known is None:
        return []
    problems = []
    if known["model_hash"] != description["hash"]:
        problems.append(
            f"{card.CARD} is the card of another model ({known['model_hash']}, not "
            f"{description['hash']}): export the model again"
        )
    params = Path(folder, card.PARAMS)
    if not params.exists():
        problems.append(f"{card.PARAMS}, the settings of the training, is missing")
    elif hashlib.sha256(params.read_bytes()).hexdigest() != known["settings_hash"]:
        problems.append(f"{card.PARAMS} is not the file that {card.CARD} has the hash of")
    return problems
