"""What a page shows of images: rows of plain values, boxes as percentages, words for captions."""

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import numpy as np

from context_rcnn.data.timestamps import format_timestamp
from context_rcnn.report.compare import IOU, Case, iou
from context_rcnn.report.explanations import Detection, Keyframe, Memory
from context_rcnn.report.pixels import Album
from context_rcnn.report.runs import Run
from context_rcnn.report.text import apart, clean, count, number

THUMBNAIL_WIDTH, KEYFRAME_WIDTH = 480, 960
MEMORIES = 6  # shown beside a keyframe
_TICKS = (1, 2, 5, 10, 30, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
_DAY = 86400
_TICK_DAYS = (1, 2, 5, 7, 10, 14, 30, 60, 90, 180, 365)
_TICK_STEPS = (*_TICKS, *(_DAY * days for days in _TICK_DAYS))
_FRAME_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image with boxes over it, and what stands under it.

    Attributes:
        image_id: Id of the image, which the album looks up when the page is made.
        boxes: Each with `kind` (truth, memory, baseline), percentages and a `label`.
        alt: Description for people who cannot see the image.
        lines: Caption, most important first.
    """

    image_id: str
    boxes: list[dict[str, Any]]
    alt: str
    lines: list[str]


def box(edges: Sequence[float] | np.ndarray, kind: str, label: str = "") -> dict[str, Any]:
    """A box in percent of the image, kept inside of it."""
    x1, y1, x2, y2 = (round(100 * min(max(float(v), 0.0), 1.0), 3) for v in edges)
    return {
        "kind": kind,
        "x": x1,
        "y": y1,
        "width": round(max(x2 - x1, 0.2), 3),
        "height": round(max(y2 - y1, 0.2), 3),
        "label": clean(label, 60),
    }


def group(cases: Sequence[Case]) -> list[tuple[Case, int]]:
    """One case for each class and place in the frame, and how many more there are like it.

    A camera that never moves is wrong about the same thing again and again, and an animal stays for
    a burst. Two cases are alike if they are of one class and their first boxes overlap with IoU .5.
    The order is kept.
    """
    leaders: dict[str, list[int]] = {}
    places: dict[str, np.ndarray] = {}
    groups: list[list[Any]] = []
    for case in cases:
        edges, name = case.truth or (case.edges[0], case.names[0])
        alike = iou(edges[None], places[name])[0] >= IOU if name in places else np.zeros(0, bool)
        if alike.any():
            groups[leaders[name][alike.argmax()]][1] += 1
            continue
        leaders.setdefault(name, []).append(len(groups))
        places[name] = np.concatenate([places.get(name, np.zeros((0, 4))), edges[None]])
        groups.append([case, 0])
    return [(case, more) for case, more in groups]


def false_positive(case: Case, alike: int, kind: str, verb: str, looks_like: str = "") -> Picture:
    """An empty image and the boxes that only one run reports there.

    Args:
        case: the image.
        alike: number of other cases like it.
        kind: kind of the boxes.
        verb: who reports them, and how.
        looks_like: species that the dummy under the first box is shaped like, "" without a dummy.
    """
    dummy = [f"a dummy shaped like: {looks_like}"] if looks_like else []
    names = [f"{clean(n, 40)} {number(s, 2)}" for n, s in zip(case.names, case.scores, strict=True)]
    more = f", and {len(names) - 1} more" if len(names) > 1 else ""
    return Picture(
        case.image_id,
        [box(e, kind, label) for e, label in zip(case.edges, names, strict=True)],
        f"Empty image {clean(case.image_id)}, where {verb} {names[0]}{more}"
        f"{', on ' + dummy[0] if dummy else ''}.",
        [f"{names[0]}{more}", *dummy, *_more(alike), clean(case.image_id)],
    )


def animal(case: Case, alike: int, kind: str, winner: str, loser: str) -> Picture:
    """A labelled object that only one run finds."""
    if case.truth is None:
        raise ValueError(f"image {case.image_id}: the case is not of a labelled object")
    edges, name = case.truth
    found = f"{clean(case.names[0], 40)} {number(case.scores[0], 2)}"
    other = "no box there" if case.other_score is None else number(case.other_score, 2)
    right = "" if case.names[0] == name else " (another class)"
    return Picture(
        case.image_id,
        [box(edges, "truth", f"label: {name}"), box(case.edges[0], kind, found)],
        f"Image {clean(case.image_id)}, labelled {clean(name, 40)}: {winner} finds {found}{right}.",
        [
            f"{clean(name, 40)}",
            f"{winner}: {found}{right}",
            f"{loser}: {other}",
            *_more(alike),
            clean(case.image_id),
        ],
    )


def sample(run: Run, threshold: float, limit: int, seed: int) -> list[Picture]:
    """Images with labelled boxes, drawn at random, with what the run says of them."""
    full = [i for i in range(len(run.image_ids)) if not run.is_empty(i)]
    chosen = sorted(random.Random(seed).sample(full, min(limit, len(full))))
    pictures = []
    for image in chosen:
        truth, found = run.truth.of(image), run.found.of(image)
        rows = found.start + np.flatnonzero(run.found.scores[found] >= threshold)
        labels = [
            f"{clean(run.class_names[int(run.found.classes[r])], 40)} "
            f"{number(float(run.found.scores[r]), 2)}"
            for r in rows
        ]
        names = Counter(run.class_names[int(c)] for c in run.truth.classes[truth])
        labelled = ", ".join(f"{n} × {clean(name, 40)}" for name, n in names.items())
        pictures.append(
            Picture(
                run.image_ids[image],
                [box(e, "truth") for e in run.truth.edges[truth]]
                + [
                    box(run.found.edges[row], "memory", label)
                    for row, label in zip(rows, labels, strict=True)
                ],
                f"Image {clean(run.image_ids[image])}, labelled {labelled}; detected: "
                f"{', '.join(labels[:5]) or 'nothing'}.",
                [
                    f"labelled {labelled}",
                    f"detected {', '.join(labels[:3]) or 'nothing'}"
                    + (f" and {len(labels) - 3} more" if len(labels) > 3 else ""),
                    clean(run.image_ids[image]),
                ],
            )
        )
    return pictures


def choose_keyframes(keyframes: Sequence[Keyframe], limit: int, seed: int) -> list[Keyframe]:
    """Keyframes whose best detection attends to something: by chance, but of many classes."""
    able = [k for k in keyframes if k.detections and k.detections[0].attention]
    random.Random(seed).shuffle(able)
    seen: Counter[str] = Counter()
    turns = []
    for keyframe in able:
        name = keyframe.detections[0].class_name
        turns.append(seen[name])
        seen[name] += 1
    order = sorted(range(len(able)), key=lambda i: turns[i])
    return [able[i] for i in order[:limit]]


def panel(keyframe: Keyframe, verdict: str, others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A keyframe, the memories its best detection attends to, and when they were.

    Args:
        keyframe: keyframe with a detection that attends to something.
        verdict: a few words on that detection.
        others: boxes to be seen besides it.
    """
    detection = keyframe.detections[0]
    name = clean(detection.class_name, 40)
    label = f"{name} {number(detection.score, 2)}"
    where = [clean(keyframe.camera, 60)] if keyframe.camera else []
    when = [format_timestamp(keyframe.seconds)] if _is_date(keyframe.seconds) else ["undated"]
    shown = detection.attention[:MEMORIES]
    return {
        "title": label,
        "verdict": verdict,
        "keyframe": Picture(
            keyframe.image_id,
            [*others, box(detection.edges, "memory", label)],
            f"Keyframe {clean(keyframe.image_id)} with the detection {label}.",
            [", ".join([*where, *when]), clean(keyframe.image_id)],
        ),
        "memories": [_memory(memory) for memory in shown],
        "entries": len(detection.attention),
        "weight": sum(memory.weight for memory in detection.attention),
        "undated": _undated(detection.attention),
        "timeline": timeline(detection.attention),
        "rows": [
            {
                "image": clean(memory.image_id),
                "apart": _apart(memory),
                "weight": number(memory.weight, 3),
            }
            for memory in detection.attention
        ],
    }


def beside_labels(keyframe: Keyframe, run: Run, place: int | None) -> dict[str, Any]:
    """A panel of a keyframe with its labels; `place` is that of its image in the run."""
    verdict = _beside_labels(keyframe.detections[0], run, place)
    labels = np.zeros([0, 4]) if place is None else run.truth.edges[run.truth.of(place)]
    return panel(keyframe, verdict, [box(edges, "truth") for edges in labels])


def beside_single_frame(keyframe: Keyframe) -> dict[str, Any]:
    """A panel of a keyframe with what the model finds in its image alone."""
    detection = keyframe.detections[0]
    alone = [
        found
        for found in keyframe.without_memory
        if iou(np.array([detection.edges]), np.array([found.edges]))[0, 0] >= IOU
    ]
    if not alone:
        return panel(keyframe, "without memory nothing is found there", [])
    name, score = clean(alone[0].class_name, 40), number(alone[0].score, 2)
    return panel(keyframe, f"without memory: {name} {score}", [box(alone[0].edges, "baseline")])


def _beside_labels(detection: Detection, run: Run, place: int | None) -> str:
    """What the label says of a detection."""
    if place is None:
        return "not among the evaluated images"
    truth = run.truth.of(place)
    if truth.start == truth.stop:
        return "labelled empty"
    overlaps = iou(np.array([detection.edges]), run.truth.edges[truth])[0]
    if overlaps.max() < IOU:
        return "on no labelled box"
    name = run.class_names[int(run.truth.classes[truth][overlaps.argmax()])]
    return "as labelled" if name == detection.class_name else f"labelled {clean(name, 40)}"


def timeline(attention: Sequence[Memory]) -> dict[str, Any] | None:
    """Stems over time, to scale, in percent; None where no entry has a time.

    Where none is dated, time is counted in frames, if these are known.
    """
    dated = [(m.seconds_apart, m.weight) for m in attention if m.seconds_apart is not None]
    in_frames = [(m.frames_apart, m.weight) for m in attention if m.frames_apart is not None]
    words: tuple[Callable[[int], str], Callable[[int], str]] = (_tick, apart)
    steps = _TICK_STEPS
    if not dated:
        dated, words, steps = in_frames, (_frames_tick, _frames_apart), _FRAME_STEPS
    if not dated:
        return None
    label, say = words
    times = [seconds for seconds, _ in dated]
    first, last = min(0, *times), max(0, *times)
    step = _tick_step(last - first, steps)
    # The axis ends at ticks, so that even a single memory stands inside of it.
    first, last = first // step * step, -(-last // step) * step
    first -= step if first == last else 0
    highest = max(weight for _, weight in dated) or 1.0

    def percent(seconds: float) -> float:
        return round(2 + 96 * (seconds - first) / (last - first), 3)

    return {
        "stems": [
            {"x": percent(seconds), "height": round(100 * weight / highest, 2)}
            for seconds, weight in dated
        ],
        "ticks": [{"x": percent(t), "label": label(t)} for t in range(first, last + 1, step)],
        "zero": percent(0),
        "highest": number(highest, 2),
        "words": f"{len(dated)} attended memories from {say(min(times))} to {say(max(times))}",
    }


def want_all(album: Album, pictures: Sequence[Picture], width: int = THUMBNAIL_WIDTH) -> None:
    """Asks the album for the images of these pictures."""
    for picture in pictures:
        album.want(picture.image_id, width)


def want_panels(album: Album, panels: Sequence[dict[str, Any]]) -> None:
    """The same for panels."""
    for row in panels:
        want_all(album, [row["keyframe"]], KEYFRAME_WIDTH)
        want_all(album, row["memories"])


def _more(alike: int) -> list[str]:
    return [f"and {count(alike, 'case')} like it"] if alike else []


def _memory(memory: Memory) -> Picture:
    weight = number(memory.weight, 3)
    return Picture(
        memory.image_id,
        [box(memory.edges, "attended")],
        f"Remembered image {clean(memory.image_id)}, {_apart(memory)}, weight {weight}.",
        [f"weight {weight}", _apart(memory), clean(memory.image_id)],
    )


def _undated(attention: Sequence[Memory]) -> int:
    """Entries that a timeline leaves out."""
    seconds = sum(1 for memory in attention if memory.seconds_apart is None)
    frames = sum(1 for memory in attention if memory.frames_apart is None)
    return seconds if seconds < len(attention) else frames


def _apart(memory: Memory) -> str:
    """How far an entry is from its keyframe, in time or, where that is unknown, in frames."""
    if memory.seconds_apart is None and memory.frames_apart is not None:
        return _frames_apart(memory.frames_apart)
    return apart(memory.seconds_apart)


def _frames_apart(frames: int) -> str:
    if frames == 0:
        return "the same frame"
    return f"{count(abs(frames), 'frame')} {'before' if frames < 0 else 'after'}"


def _tick_step(span: int, steps: Sequence[int]) -> int:
    """The smallest step with which eight ticks are enough; beyond, a multiple of the last."""
    for step in steps:
        if span <= 7 * step:
            return step
    return steps[-1] * -(-span // (7 * steps[-1]))


def _frames_tick(frames: int) -> str:
    return f"{'+' if frames > 0 else '−'}{abs(frames)}" if frames else "now"


def _tick(seconds: int) -> str:
    if seconds == 0:
        return "now"
    size, unit = next(
        (size, unit)
        for size, unit in ((_DAY, "d"), (3600, "h"), (60, "min"), (1, "s"))
        if seconds % size == 0
    )
    return f"{'+' if seconds > 0 else '−'}{abs(seconds) // size} {unit}"


def _is_date(seconds: int | None) -> TypeGuard[int]:
    """Whether the calendar has this moment."""
    return seconds is not None and 0 <= seconds < 253_402_300_800
