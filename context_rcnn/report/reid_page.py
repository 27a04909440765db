"""Queries and the tracklets that look most like them, as a page: which answers are right."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from context_rcnn.data.paths import FileError
from context_rcnn.data.tracklet_images import ClipReader
from context_rcnn.data.tracklets import DISTRACTOR, JUNK, UNKNOWN, Tracklet
from context_rcnn.evaluation.embeddings import Embeddings
from context_rcnn.evaluation.reid import intra_and_inter
from context_rcnn.report.page import environment, staged
from context_rcnn.report.text import clean, number

STRIP = (96, 48)  # height and width of a frame on the page

_NOBODY = {UNKNOWN: "not named", DISTRACTOR: "somebody else", JUNK: "nobody"}

# From a clip uint8 [frames, height, width, 3] to how strongly each cell counts.
Activations = Callable[[np.ndarray], np.ndarray]
Answers = Sequence[Sequence[Any]]  # `runners.reid.search.Answer` of each query, best first


@dataclasses.dataclass(frozen=True)
class SheetOptions:
    """What the page shows.

    Attributes:
        output_dir: folder to write; an earlier report there is replaced.
        title: title of the page.
        max_queries: largest number of queries; those with a wrong first answer come first.
        frames: number of frames shown of a tracklet.
        people: number of identities in the picture of all features; 0 for no picture.
        seed: seed of the choice, and of the picture.
    """

    output_dir: str
    title: str = ""
    max_queries: int = 24
    frames: int = 4
    people: int = 20
    seed: int = 0

    def __post_init__(self):
        for name, least in (("max_queries", 1), ("frames", 1), ("people", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} must be at least {least}, got {getattr(self, name)}")


class _Strips:
    """Writes tracklets as strips of frames, under numbers."""

    def __init__(self, folder: str, frames: int):
        self._folder, self._frames = folder, frames
        self._written: dict[tuple[str, str], dict[str, Any]] = {}
        os.makedirs(os.path.join(folder, "images"), exist_ok=True)

    def strip(self, root: str, tracklet: Tracklet, active: Activations | None = None) -> dict:
        """The picture of a tracklet: file, width and height, or why there is none."""
        key = (root, tracklet.name)
        if active is None and key in self._written:
            return self._written[key]
        count = len(tracklet.frames)
        places = np.arange(min(self._frames, count)) * count // min(self._frames, count)
        try:
            clip = ClipReader(root, STRIP).clip(tracklet, places)
        except FileError as error:
            return {"file": "", "why": clean(error.detail)}
        if active is not None:
            clip = overlay(clip, active(clip))
        picture = np.concatenate(list(clip), axis=1)
        file = f"images/{len(os.listdir(os.path.join(self._folder, 'images'))) + 1:05d}.jpg"
        Image.fromarray(picture).save(os.path.join(self._folder, file), "JPEG", quality=88)
        found = {"file": file, "width": picture.shape[1], "height": picture.shape[0], "why": ""}
        if active is None:
            self._written[key] = found
        return found


def write_sheet(
    options: SheetOptions,
    query: Embeddings,
    asked: Sequence[int],
    gallery: Embeddings,
    answers: Answers,
    *,
    active: Activations | None = None,
    metrics: dict[str, Any] | None = None,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> str:
    """Writes the page completely or not at all; returns the path of its index.html.

    Args:
        options: what it shows.
        query: embeddings with the queries.
        asked: numbers of the queries.
        gallery: embeddings with the answers.
        answers: answers of each query, best first.
        active: how strongly the cells of a clip count, to draw over the queries.
        metrics: numbers of an evaluation.
        progress: wraps the queries that are shown, with their number.
    """
    with staged(options.output_dir) as folder:
        strips = _Strips(folder, options.frames)
        shown = _choose(answers, options.max_queries, options.seed)
        rows = [
            _row(query, asked[place], gallery, answers[place], strips, active)
            for place in progress(shown, len(shown))
        ]
        chart = features_chart(gallery, options.people, options.seed, folder)
        content = {
            "title": clean(options.title or "Who is who", 200),
            "rows": rows,
            "queries": len(asked),
            "gallery": len(gallery.tracklets),
            "metrics": _numbers(metrics or {}),
            "chart_of_features": chart,
            "has_maps": active is not None,
            "seed": options.seed,
        }
        page = environment().get_template("reid.html").render(content)
        with open(os.path.join(folder, "index.html"), "w", encoding="utf-8") as file:
            file.write(page)
    return os.path.join(options.output_dir, "index.html")


def overlay(clip: np.ndarray, active: np.ndarray) -> np.ndarray:
    """A clip with its activations in colour: red counts most in the clip, blue least.

    Args:
        clip: uint8 [frames, height, width, 3].
        active: [frames, rows, columns].
    """
    low, high = float(active.min()), float(active.max())
    share = (active - low) / max(high - low, 1e-9)
    size = (clip.shape[2], clip.shape[1])
    drawn = []
    for frame, part in zip(clip, share, strict=True):
        plane = Image.fromarray(part.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        heat = np.asarray(plane, np.float32)[..., None]
        colour = 255 * np.concatenate([heat, 1 - np.abs(2 * heat - 1), 1 - heat], axis=-1)
        drawn.append((0.55 * frame + 0.45 * colour).clip(0, 255).astype(np.uint8))
    return np.stack(drawn)


def features_chart(found: Embeddings, people: int, seed: int, folder: str) -> dict[str, Any] | None:
    """t-SNE of the features of those who have most tracklets, and mean distances; None for few."""
    names = [tracklet.identity for tracklet in found.tracklets]
    counts = {name: names.count(name) for name in sorted(set(names) - set(_NOBODY))}
    chosen = sorted((n for n in counts if counts[n] > 1), key=lambda n: -counts[n])[:people]
    places = [i for i, name in enumerate(names) if name in chosen]
    if len(chosen) < 2 or len(places) < 6:
        return None
    features = found.features[places]
    labels = [names[i] for i in places]
    within, between = intra_and_inter(features, labels)
    from context_rcnn.report import figures, reid_figures

    points = reid_figures.t_sne(features, seed)
    os.makedirs(os.path.join(folder, "figures"), exist_ok=True)
    for palette in figures.PALETTES:
        figure = reid_figures.features_picture(points, labels, palette)
        figures.save(figure, os.path.join(folder, "figures", f"features-{palette}.svg"))
    return {
        "file": "figures/features",
        "people": len(chosen),
        "tracklets": len(places),
        "within": number(within),
        "between": number(between),
    }


def _choose(answers: Answers, most: int, seed: int) -> list[int]:
    """Queries with a wrong first answer first, each kind in random order."""
    order = np.random.default_rng(seed).permutation(len(answers)).tolist()
    wrong = [i for i in order if answers[i] and answers[i][0].right is False]
    others = [i for i in order if i not in set(wrong)]
    half = most // 2
    return (wrong[: max(half, most - len(others))] + others)[:most]


def _row(
    query: Embeddings,
    number_of: int,
    gallery: Embeddings,
    found: Sequence[Any],
    strips: _Strips,
    active: Activations | None,
) -> dict[str, Any]:
    tracklet = query.tracklets[number_of]
    return {
        "query": _picture(tracklet, strips.strip(query.root, tracklet)),
        "map": strips.strip(query.root, tracklet, active) if active else None,
        "answers": [
            _picture(other, strips.strip(gallery.root, other))
            | {
                "similarity": number(answer.similarity, 2),
                "right": {True: "right", False: "wrong", None: "not known"}[answer.right],
            }
            for answer in found
            for other in [gallery.tracklets[answer.place]]
        ],
    }


def _picture(tracklet: Tracklet, strip: dict[str, Any]) -> dict[str, Any]:
    who = _NOBODY.get(tracklet.identity) or clean(tracklet.identity, 60)
    return strip | {
        "name": clean(tracklet.name),
        "who": who,
        "camera": clean(tracklet.camera, 60),
        "frames": len(tracklet.frames),
        "alt": f"Tracklet {clean(tracklet.name)} of {who}.",
    }


def _numbers(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    names = [n for n in metrics if n in ("mAP", "mINP") or n.startswith("Rank-")]
    return [(name, number(metrics[name])) for name in names]
