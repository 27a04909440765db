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
def study(tmp_path_factory) -> Study:
    root = tmp_path_factory.mktemp("study")
    summary = simulate_camera_traps(root, **STUDY)
    labels = json.loads((root / "camera_traps.json").read_text())
    return Study(root, summary, labels, json.loads((root / "simulation.json").read_text()))


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    simulate_traffic(root, **CLIPS)
    return root
