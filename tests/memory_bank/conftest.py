"""Small banks for the tests of memory."""

import numpy as np
import pytest

from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.manifest import BankInfo
from context_rcnn.memory_bank.writer import BankWriter

DEPTH = 32
START = 1_600_000_000  # 2020-09-13 12:26:40
EXTRACTOR = "sha256:1234"


@pytest.fixture(scope="session")
def make_entries():
    """Makes entries of `images` images, `per_image` each, `undated` of them without a date."""

    def make(images=40, per_image=2, undated=3, seed=0, step=700, prefix="image", depth=DEPTH):
        random = np.random.default_rng(seed)
        count = images * per_image
        corners = np.sort(random.uniform(size=[count, 2, 2]), axis=1)
        times = [None if i < undated else START + i * step for i in range(images)]
        return Entries.make(
            image_ids=[f"{prefix}-{i // per_image:05d}" for i in range(count)],
            seconds=[times[i // per_image] for i in range(count)],
            boxes=corners.reshape(count, 4),
            features=np.abs(random.normal(size=[count, depth])).astype(np.float32),
            scores=random.uniform(size=count),
            classes=random.integers(1, 9, count),
        )

    return make


@pytest.fixture
def write_bank(tmp_path, make_entries):
    """Writes a bank of {camera: entries} and returns its folder."""

    def write(cameras=None, folder="bank", num_shards=3, dropped=None, **info):
        if cameras is None:
            cameras = {f"camera {i}": make_entries(seed=i, prefix=f"c{i}") for i in range(5)}
        depth = next(iter(cameras.values())).depth if cameras else DEPTH
        info = {"extractor_hash": EXTRACTOR, "feature_source": "pooled", "depth": depth, **info}
        path = str(tmp_path / folder)
        with BankWriter(path, BankInfo(**info), num_shards) as writer:
            for camera, entries in cameras.items():
                writer.add(camera, entries, (dropped or {}).get(camera))
        return path

    return write
