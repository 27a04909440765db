"""What a memory of maps holds, read from the JSON lines of `context-rcnn explain` and drawn."""

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from context_rcnn.report import galleries
from context_rcnn.report.text import clean, count

_SCALE = 8  # pixels of a cell in a picture
_MOST_FRAMES = 11  # of a sequence that are shown


@dataclasses.dataclass(frozen=True)
class MapFrame:
    """A frame of a sequence.

    Attributes:
        video: Name of its video.
        image_id: Id of its image.
        boxes: Objects, x1 y1 x2 y2 as fractions.
        maps: Maps [height, width] by name.
        trails: Distance moved, and length of the trail in each map, of objects that have moved.
    """

    video: str
    image_id: str
    boxes: tuple[tuple[float, ...], ...]
    maps: Mapping[str, np.ndarray]
    trails: tuple[tuple[float, Mapping[str, float]], ...]


def read_memory_maps(path: str) -> list[MapFrame]:
    """Reads all lines.

    Raises:
        ValueError: Naming file, line and field.
    """
    frames = []
    try:
        with open(path, encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    frames.append(_frame(line, f"{path}, line {number}"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--memory_maps={path} cannot be read: {error}") from error
    if not frames:
        raise ValueError(f"--memory_maps={path} has no lines")
    return frames


def choose_sequences(frames: Sequence[MapFrame], limit: int) -> list[list[MapFrame]]:
    """The sequences in which most moves, at most so many."""
    sequences = [list(its) for _, its in itertools.groupby(frames, key=lambda f: f.video)]

    def moved(sequence: list[MapFrame]) -> float:
        return max((far for frame in sequence for far, _ in frame.trails), default=0.0)

    return sorted(sequences, key=moved, reverse=True)[:limit]


def show_memory_maps(
    frames: Sequence[MapFrame], sequences: Sequence[Sequence[MapFrame]], folder: str
) -> dict[str, Any]:
    """What the page shows of them; writes pictures of the maps into FOLDER/images."""
    os.makedirs(os.path.join(folder, "images"), exist_ok=True)
    names = list(frames[0].maps)
    trails = [trail for frame in frames for trail in frame.trails]
    rows = []
    for name in names:
        its = [(far, lengths[name]) for far, lengths in trails if name in lengths]
        far, length = np.mean(its, axis=0) if its else (None, None)
        rows.append({"name": clean(name), "objects": len(its), "moved": far, "trail": length})
    return {
        "frames": len(frames),
        "videos": len({frame.video for frame in frames}),
        "rows": rows,
        "sequences": [
            {
                "title": clean(sequence[0].video),
                "frames": [
                    _shown(frame, f"images/map-{i}-{t}", _brightest(sequence), folder)
                    for t, frame in enumerate(sequence[:_MOST_FRAMES])
                ],
            }
            for i, sequence in enumerate(sequences)
        ],
    }


def _brightest(sequence: Sequence[MapFrame]) -> float:
    """One scale for all maps of a sequence."""
    return max(float(part.max()) for frame in sequence for part in frame.maps.values())


def _shown(frame: MapFrame, name: str, brightest: float, folder: str) -> dict[str, Any]:
    maps = []
    for k, (title, values) in enumerate(frame.maps.items()):
        file = f"{name}-{k}.png"
        shades = np.clip(255 * values / (brightest or 1.0), 0, 255).astype(np.uint8)
        size = (_SCALE * shades.shape[1], _SCALE * shades.shape[0])
        picture = Image.fromarray(shades).resize(size, Image.Resampling.NEAREST)
        picture.save(os.path.join(folder, file))
        alt = f"The memory of this frame, {title}: a map in which bright places hold most."
        maps.append(
            {
                "name": clean(title),
                "file": file,
                "width": size[0],
                "height": size[1],
                "alt": clean(alt, 200),
            }
        )
    boxes = [galleries.box(edges, "truth") for edges in frame.boxes]
    lines = [clean(frame.image_id)]
    alt = f"A frame with {count(len(boxes), 'labelled object')}."
    return {"picture": galleries.Picture(frame.image_id, boxes, alt, lines), "maps": maps}


def _frame(line: str, where: str) -> MapFrame:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON: {error}") from error
    maps = _get(row, "maps", dict, where)
    if not maps:
        raise ValueError(f"{where}: 'maps' is empty")
    boxes = []
    for i, item in enumerate(_get(row, "objects", list, where)):
        y1, x1, y2, x2 = _numbers(item, "box", 4, f"{where}, object {i}")
        boxes.append((x1, y1, x2, y2))
    trails = []
    for i, item in enumerate(_get(row, "trails", list, where)):
        at = f"{where}, trail {i}"
        lengths = _get(item, "trail", dict, at)
        trails.append((_number(item, "moved", at), {k: _number(lengths, k, at) for k in lengths}))
    return MapFrame(
        video=_get(row, "video", str, where),
        image_id=_get(row, "image_id", str, where),
        boxes=tuple(boxes),
        maps={name: _map(values, f"{where}, map {name!r:.40}") for name, values in maps.items()},
        trails=tuple(trails),
    )


def _map(values: Any, where: str) -> np.ndarray:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.ndim != 2 or not array.size or not np.isfinite(array).all() or array.min() < 0:
        raise ValueError(f"{where}: expected rows of numbers from 0 on, of one length")
    return array


def _get(row: Any, name: str, kind: type, where: str) -> Any:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, kind):
        raise ValueError(f"{where}: {name!r} is {value!r:.80}")
    return value


def _number(row: Any, name: str, where: str) -> float:
    value = row.get(name) if isinstance(row, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where}: {name!r} is {value!r:.80}")
    return float(value)


def _numbers(row: Any, name: str, size: int, where: str) -> list[float]:
    values = _get(row, name, list, where)
    if len(values) != size:
        raise ValueError(f"{where}: {name!r} is {values!r:.80}, expected {size} numbers")
    return [_number({name: value}, name, where) for value in values]
