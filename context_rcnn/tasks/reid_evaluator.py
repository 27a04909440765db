"""The evaluation of re-identification: features averaged, ranked, and written."""

import json
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from context_rcnn.configs.reid import Ranking
from context_rcnn.data.failures import Failure, to_jsonl
from context_rcnn.data.tracklets import Tracklet
from context_rcnn.evaluation import reid
from context_rcnn.evaluation.embeddings import Embeddings, write_embeddings
from context_rcnn.evaluation.re_ranking import re_rank


class Averages:
    """Features of tracklets, as the means of those of their clips.

    Args:
        count: number of tracklets.
        normalise_first: whether clips are brought to unit length before.
    """

    def __init__(self, count: int, normalise_first: bool = False):
        self._normalise_first = normalise_first
        self._sums: np.ndarray | None = None
        self.clips = np.zeros(count, np.int64)

    def add(self, tracklet: np.ndarray, features: np.ndarray, valid: np.ndarray) -> None:
        """Adds clips: numbers of their tracklets, features [clips, depth], and which count."""
        if self._normalise_first:
            features = reid.unit_length(features)
        if self._sums is None:
            self._sums = np.zeros((len(self.clips), features.shape[1]), np.float64)
        there = np.asarray(valid, bool)
        np.add.at(self._sums, tracklet[there], features[there])
        np.add.at(self.clips, tracklet[there], 1)

    def means(self) -> np.ndarray:
        """float32 [tracklets, depth]; zeros where no clip could be read."""
        if self._sums is None:
            raise ValueError("there is nothing to evaluate")
        return (self._sums / np.maximum(self.clips, 1)[:, None]).astype(np.float32)


def evaluate(
    params: Ranking,
    tracklets: Sequence[Tracklet],
    queries: int,
    averages: Averages,
    queries_in_gallery: bool,
    *,
    root: str,
    step: int,
    folder: str | None,
    failures: Sequence[Failure] = (),
) -> dict[str, float]:
    """Ranks queries, prints and writes what was found, and returns the scalars.

    Args:
        params: how.
        tracklets: queries, and then the gallery.
        queries: number of queries.
        averages: their features.
        queries_in_gallery: whether the data set's protocol has them there too.
        root: folder that file names are relative to.
        step: step of the model.
        folder: folder to write; None writes nothing.
        failures: images that could not be read.
    """
    features = averages.means()
    read = averages.clips > 0
    described = reid.Described(
        features, [t.identity for t in tracklets], [t.camera for t in tracklets]
    )
    places = np.arange(len(tracklets))
    asked = places[(places < queries) & read]
    among = places[read & ((places >= queries) | _in_gallery(params, queries_in_gallery))]
    query, gallery = described.take(asked), described.take(among)
    distances = re_rank(query.features, gallery.features) if params.re_rank else None
    ranked = reid.rank(query, gallery, ranks=params.ranks, distances=distances)
    metrics = {
        "step": step,
        **ranked.metrics,
        "unread_tracklets": int((~read).sum()),
        "unread_images": len(failures),
        "queries_in_gallery": bool(_in_gallery(params, queries_in_gallery)),
        "re_ranked": params.re_rank,
    }
    if folder:
        rows = [tracklets[i] for i in places[read]]
        part = ["query" if i < queries else "gallery" for i in places[read]]
        place = os.path.abspath(root)
        found = Embeddings(features[read], rows, root=place, parts=part, model=f"step {step}")
        write_embeddings(folder, found)
        _write(folder, metrics, failures)
        print(as_table(metrics))
        print(f"evaluation written to {folder}")
    return {name: value for name, value in metrics.items() if isinstance(value, float)}


def _in_gallery(params: Ranking, protocol: bool) -> bool:
    choices = {"auto": protocol, "yes": True, "no": False}
    if params.queries_in_gallery not in choices:
        raise ValueError(
            "task.evaluation.queries_in_gallery must be auto, yes or no, got "
            f"{params.queries_in_gallery!r}"
        )
    return choices[params.queries_in_gallery]


def as_table(metrics: dict) -> str:
    """The metrics as text."""
    lines = [
        f"{metrics['queries']} queries ({metrics['queries_without_a_match']} without a right "
        f"answer), {metrics['gallery']} tracklets to look in ({metrics['distractors']} "
        f"distractors), {metrics['left_out']} left out",
        "",
    ]
    names = [name for name in metrics if name in ("mAP", "mINP") or name.startswith("Rank-")]
    for name in names:
        value = metrics[name]
        lines.append(f"{name:8} {'-' if value is None else f'{value:.3f}'}")
    return "\n".join(lines)


def _write(folder: str, metrics: dict, failures: Sequence[Failure]) -> None:
    for name, content in (
        ("metrics.json", json.dumps(metrics, indent=2) + "\n"),
        ("metrics.txt", as_table(metrics) + "\n"),
        ("failures.jsonl", to_jsonl(failures)),
    ):
        path = os.path.join(folder, name)
        with tf.io.gfile.GFile(path + ".tmp", "w") as file:
            file.write(content)
        tf.io.gfile.rename(path + ".tmp", path, overwrite=True)
