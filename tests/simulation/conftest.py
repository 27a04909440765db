"""Small simulations, made once for all tests."""

import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from context_rcnn.simulation import simulate_camera_traps, simulate_traffic

STUDY = dict(cameras=8, days=14, seed=5, species=8, images_per_folder=60)
CLIPS = dict(cameras=3, days=1, clips_per_day=2, frames_per_clip=42, seed=2, bus_period=20.0)


class Study(NamedTuple):
    """A simulated camera-trap study as it lies on disk."""

    root: Path
    summary: dict
    labels: dict
    truth: dict

    def boxes(self) -> dict[str, list[dict]]:
        """Annotations with boxes by image id."""
        found = defaultdict(list)
        for annotation in self.labels["annotations"]:
            if "bbox" in annotation:
                found[annotation["image_id"]].append(annotation)
        return found


@pytest.fixture(scope="session")
def study(once) -> Study:
    def make(folder):
        summary = simulate_camera_traps(folder / "archive", **STUDY)
        (folder / "summary.json").write_text(json.dumps(summary))

    folder = once("study", make)
    root = folder / "archive"
    read = (folder / "summary.json", root / "camera_traps.json", root / "simulation.json")
    return Study(root, *(json.loads(path.read_text()) for path in read))


@pytest.fixture(scope="session")
def clips(once) -> Path:
    return once("clips", lambda folder: simulate_traffic(folder, **CLIPS))
