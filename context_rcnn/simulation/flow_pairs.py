"""Pairs of frames of simulated videos with their exact optical flow, in the layout of FlyingChairs.

```
<output_dir>/data/00001_img1.ppm, 00001_img2.ppm, 00001_flow.flo
<output_dir>/FlyingChairs_train_val.txt    a line for each pair: 1 to train with, 2 to validate
<output_dir>/simulation.json               settings
```

The flow leads from the first image to the second, and is known of every pixel, those that the
second image does not show included, as in FlyingChairs. With negative distances the second image is
the earlier one: so a memory of it is moved to the first.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from context_rcnn.simulation import canvas, writers
from context_rcnn.simulation.film import Film
from context_rcnn.simulation.flow_files import write_vectors
from context_rcnn.simulation.jobs import Progress, run_jobs
from context_rcnn.simulation.settings import FlowPairSettings

SPLIT_FILE = "FlyingChairs_train_val.txt"
_SIMULATOR = "simulate_flow_pairs"
_FOLDER = "data"
_TRAIN, _VAL = 1, 2
_CHOICE = 23  # purpose of a random stream


def simulate_flow_pairs(
    output_dir: str | os.PathLike[str],
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Writes pairs of frames and their flow.

    The same settings give the same bytes, whatever the number of workers.

    Args:
      output_dir: folder to write; an earlier simulation in it is replaced.
      workers: processes to use.
      overwrite: write even into a folder that holds other things; they are kept.
      progress: called as `progress(video, pairs_done, pairs_total)` when a video is done.
      **settings: fields of `FlowPairSettings`.

    Returns:
      Numbers of pairs and of those held out, and the mean length of their vectors by distance, in
      pixels.
    """
    chosen = FlowPairSettings(**settings)
    writers.check_workers(workers)
    contents = (_FOLDER, SPLIT_FILE)
    root, marker = writers.begin(output_dir, _SIMULATOR, chosen, contents, overwrite)
    (root / _FOLDER).mkdir()
    jobs = [_PairsJob(root / _FOLDER, chosen, index) for index in range(chosen.videos)]
    lengths = np.concatenate([np.asarray(found) for found in run_jobs(jobs, workers, progress)])
    held_out = math.ceil(chosen.videos * chosen.val_fraction)
    lines = [
        str(_VAL if job.index < held_out else _TRAIN) for job in jobs for _ in range(job.frames)
    ]
    (root / SPLIT_FILE).write_text("\n".join(lines) + "\n", encoding="ascii")
    means = {
        str(distance): round(float(lengths[lengths[:, 0] == distance, 1].mean()), 2)
        for distance in sorted(set(lengths[:, 0].astype(int)))
    }
    summary = {"pairs": len(lines), "held_out": lines.count(str(_VAL)), "mean_motion": means}
    writers.write_json(root / writers.MARKER, marker | {"summary": summary})
    return summary


@dataclass(frozen=True)
class _PairsJob:
    """The pairs of one video."""

    folder: Path
    settings: FlowPairSettings
    index: int

    @property
    def name(self) -> str:
        return f"video {self.index}"

    @property
    def frames(self) -> int:
        return self.settings.pairs

    def __call__(self) -> list[tuple[int, float]]:
        film = Film(self.settings, self.index)
        rng = canvas.generator(self.settings.seed, _CHOICE, self.index)
        distances, lengths = self.settings.flow_distances, []
        for pair in range(self.settings.pairs):
            distance = distances[(pair + self.index) % len(distances)]
            first, last = max(0, -distance), film.frames - max(0, distance)
            number = int(rng.integers(first, last))
            vectors = film.flow(number, number + distance).vectors
            lengths.append((distance, float(np.hypot(*np.moveaxis(vectors, -1, 0)).mean())))
            stem = f"{self.index * self.settings.pairs + pair + 1:05d}"
            for place, frame in enumerate((number, number + distance), 1):
                path = self.folder / f"{stem}_img{place}.ppm"
                Image.fromarray(film.shot(frame).image).save(path)
            write_vectors(self.folder / f"{stem}_flow.flo", vectors)
        return lengths
