"""Splits by camera: a camera is in one split only, so that evaluation sees unknown places."""

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from context_rcnn.data.fields import identifier, kind, load_json_object

TRAIN, VAL = "train", "val"
_BY_HASH = "hash of the camera"


@dataclasses.dataclass(frozen=True)
class Splits:
    """Cameras by split.

    Attributes:
        cameras: Cameras of each split.
        source: Origin of the splits, for people.
    """

    cameras: Mapping[str, Collection[str]]
    source: str = ""

    def __post_init__(self):
        owner: dict[str, str] = {}
        for split, cameras in self.cameras.items():
            if not split.replace("_", "").isalnum():
                raise ValueError(f"{self.source}: split {split!r:.80}: use letters, digits and '_'")
            for camera in cameras:
                if owner.setdefault(camera, split) != split:
                    raise ValueError(
                        f"{self.source}: camera {camera!r} is in the splits {owner[camera]!r} "
                        f"and {split!r}; a camera may be in one only"
                    )

    def by_camera(self) -> dict[str, str]:
        """Split of each camera."""
        return {camera: split for split, cameras in self.cameras.items() for camera in cameras}

    def to_json(self) -> str:
        """The layout of LILA's split files: {"splits": {"train": [...], "val": [...]}}."""
        splits = {split: sorted(cameras) for split, cameras in sorted(self.cameras.items())}
        return json.dumps({"info": {"source": self.source}, "splits": splits}, indent=1) + "\n"


def read_splits(path: str | Path) -> Splits:
    """Splits of a file in LILA's layout, or of a plain {"train": [...], "val": [...]}.

    Raises:
        ValueError: If the file has another form, or a camera is in two splits.
    """
    document = load_json_object(path)
    splits = document.get("splits", document)
    if not isinstance(splits, dict):
        raise ValueError(f"{path}: field 'splits' must be an object, found {kind(splits)}")
    cameras = {}
    for split, members in splits.items():
        if splits is document and not isinstance(members, list):
            continue  # other fields beside the splits, such as "info"
        cameras[split] = _camera_names(members, f"{path}: split {split!r:.80}")
    if not cameras:
        raise ValueError(f"{path}: no splits found; expected lists of cameras by split name")
    return Splits(cameras, source=str(path))


def hash_splits(cameras: Iterable[str], val_fraction: float, seed: int) -> Splits:
    """Splits by a stable hash of each camera's name.

    A camera keeps its split when others are added. Only if train or val would stay empty the
    nearest camera is moved there; a single camera is for training.

    Args:
        cameras: All cameras.
        val_fraction: Share of cameras, in expectation, for validation; 0 for none.
        seed: Another seed gives other splits.
    """
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction must be at least 0 and below 1, got {val_fraction}")
    position = {camera: _unit_hash(f"{seed}:{camera}") for camera in set(cameras)}
    in_order = sorted(position, key=lambda camera: (position[camera], camera))
    count = sum(position[camera] < val_fraction for camera in in_order)
    if val_fraction > 0 and len(in_order) > 1:
        count = min(max(count, 1), len(in_order) - 1)
    elif len(in_order) == 1:
        count = 0
    splits = {TRAIN: in_order[count:]} | ({VAL: in_order[:count]} if count else {})
    return Splits(splits, source=f"{_BY_HASH}, val_fraction={val_fraction}, seed={seed}")


def lopsided(splits: Splits, images: Mapping[str, int], val_fraction: float) -> list[str]:
    """What to say about splits by hash that are far from what was asked for; mostly nothing.

    Args:
        splits: the splits.
        images: number of usable images by split.
        val_fraction: share of the cameras that was asked for.
    """
    total = sum(images.values())
    if not splits.source.startswith(_BY_HASH) or not total or not val_fraction:
        return []
    share = images.get(VAL, 0) / total
    if abs(share - val_fraction) <= val_fraction / 2:
        return []
    counts = ", ".join(f"{name} {count}" for name, count in sorted(images.items()))
    cameras = sum(map(len, splits.cameras.values()))
    return [
        f"the split by cameras is lopsided ({counts}; {val_fraction:.0%} for {VAL} was asked for, "
        f"{cameras} cameras are few or unequal): choose cameras with --splits_file, or another "
        "--seed"
    ]


def _camera_names(members: object, where: str) -> list[str]:
    if not isinstance(members, list):
        raise ValueError(f"{where} must be a list of cameras, found {kind(members)}")
    names = []
    for position, member in enumerate(members):
        name = identifier(member)
        if name is None:
            raise ValueError(f"{where}: entry {position} is no camera: {member!r:.80}")
        names.append(name)
    return names


def _unit_hash(value: str) -> float:
    digest = hashlib.blake2b(value.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
