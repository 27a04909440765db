"""Which memories detections attend to, read from the JSON lines of `context-rcnn explain`."""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

MIN_WEIGHT = 0.01  # of the paper's figure 6


@dataclasses.dataclass(frozen=True)
class Memory:
    """An attended entry. `edges` are x1 y1 x2 y2 as fractions; `seconds_apart` may be unknown.

    `frames_apart` is known of entries that are frames of the keyframe's own video.
    """

    image_id: str
    seconds_apart: int | None
    edges: tuple[float, float, float, float]
    weight: float
    frames_apart: int | None = None


@dataclasses.dataclass(frozen=True)
class Detection:
    """A detection and what it attends to, strongest first."""

    edges: tuple[float, float, float, float]
    class_name: str
    score: float
    attention: tuple[Memory, ...]


@dataclasses.dataclass(frozen=True)
class Keyframe:
    """An explained image; detections best first.

    `without_memory` is what the same model finds in the image alone, where that is known.
    """

    image_id: str
    camera: str
    seconds: int | None
    detections: tuple[Detection, ...]
    without_memory: tuple[Detection, ...] = ()


def read_explanations(path: str) -> list[Keyframe]:
    """Reads all lines.

    Raises:
        ValueError: Naming file, line and field.
    """
    keyframes = []
    try:
        with open(path, encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    keyframes.append(_keyframe(line, f"{path}, line {number}"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--explanations={path} cannot be read: {error}") from error
    return keyframes


def time_differences(keyframes: Sequence[Keyframe]) -> tuple[list[int], int]:
    """Seconds from each keyframe's best detection to the entries it attends to with .01 or more.

    Returns them and how many such entries have no known time.
    """
    attended = [
        memory.seconds_apart
        for keyframe in keyframes
        for memory in (keyframe.detections[0].attention if keyframe.detections else ())
        if memory.weight >= MIN_WEIGHT
    ]
    dated = [seconds for seconds in attended if seconds is not None]
    return dated, len(attended) - len(dated)


def cut_off(keyframes: Sequence[Keyframe]) -> tuple[int, int]:
    """Longest attention list, and how many detections have one that long.

    Several that end at the same length were probably cut there by `explain --top`.
    """
    lengths = [len(d.attention) for keyframe in keyframes for d in keyframe.detections]
    longest = max(lengths, default=0)
    return longest, sum(1 for length in lengths if length == longest)


def _keyframe(line: str, where: str) -> Keyframe:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected a JSON object")
    detections = [
        _detection(item, f"{where}, detection {i}")
        for i, item in enumerate(_get(row, "detections", list, where))
    ]
    alone = [
        _detection(item, f"{where}, detection {i} without memory", attends=False)
        for i, item in enumerate(_get({"without_memory": [], **row}, "without_memory", list, where))
    ]
    return Keyframe(
        image_id=_get(row, "image_id", str, where),
        camera=_get(row, "camera", str, where) if row.get("camera") is not None else "",
        seconds=_seconds(row, "seconds", where),
        detections=tuple(sorted(detections, key=lambda found: -found.score)),
        without_memory=tuple(sorted(alone, key=lambda found: -found.score)),
    )


def _detection(row: Any, where: str, attends: bool = True) -> Detection:
    attention = [
        Memory(
            image_id=_get(item, "image_id", str, f"{where}, attention {i}"),
            seconds_apart=_seconds(item, "seconds_apart", f"{where}, attention {i}"),
            edges=_edges(item, f"{where}, attention {i}"),
            weight=_finite(item, "weight", f"{where}, attention {i}"),
            frames_apart=_frames(item, f"{where}, attention {i}"),
        )
        for i, item in enumerate(_get(row, "attention", list, where) if attends else ())
    ]
    return Detection(
        edges=_edges(row, where),
        class_name=_get(row, "class", str, where),
        score=_finite(row, "score", where),
        attention=tuple(sorted(attention, key=lambda memory: -memory.weight)),
    )


def _get(row: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{where}: '{name}' is {value!r:.80}")
    return value


def _finite(row: Any, name: str, where: str) -> float:
    value = float(_get(row, name, (int, float), where))
    if not math.isfinite(value):
        raise ValueError(f"{where}: '{name}' is {value}")
    return value


def _seconds(row: Any, name: str, where: str) -> int | None:
    if isinstance(row, dict) and row.get(name, ...) is None:
        return None
    return int(_finite(row, name, where))


def _frames(row: Any, where: str) -> int | None:
    known = isinstance(row, dict) and "frames_apart" in row
    return int(_finite(row, "frames_apart", where)) if known else None


def _edges(row: Any, where: str) -> tuple[float, float, float, float]:
    box = _get(row, "box", list, where)
    numbers = [v for v in box if isinstance(v, (int, float)) and math.isfinite(v)]
    if len(box) != 4 or len(numbers) != 4:
        raise ValueError(f"{where}: 'box' is {box!r:.80}, expected y1 x1 y2 x2")
    y1, x1, y2, x2 = map(float, box)
    return x1, y1, x2, y2
