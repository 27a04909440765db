"""iLIDS-VID: i-LIDS-VID/sequences/cam1/person001/*.png, and a table of ten splits.

The table `ls_set` of train_test_splits_ilidsvid.mat has a row per split: numbers of persons in
their order of folders, counted from 1, the first half for the test.
"""

from pathlib import Path

from context_rcnn.data.failures import Reason
from context_rcnn.data.readers import two_cameras
from context_rcnn.data.readers.matlab import read_matrix
from context_rcnn.data.tracklets import (
    Collector,
    Tracklet,
    TrackletSet,
    list_folders,
    list_images,
)

_SEQUENCES = "i-LIDS-VID/sequences"
_SPLITS = "train-test people splits/train_test_splits_ilidsvid.mat"


def read_ilids_vid(root: Path, split: int = 0, split_seed: int = 0) -> TrackletSet:
    """Reads iLIDS-VID with one of its ten splits.

    Args:
        root: folder that holds `i-LIDS-VID` and `train-test people splits`.
        split: number of the split, from 0 on.
        split_seed: seed of the split where the table is not there.
    """
    if not (root / _SEQUENCES / "cam1").is_dir():
        raise ValueError(f"{root}: there is no folder {_SEQUENCES}/cam1 as iLIDS-VID has it")
    collector = Collector("ilids_vid")
    first, second = (_camera(root, camera, collector) for camera in ("cam1", "cam2"))
    persons = sorted(first.keys() | second.keys())
    for person in sorted(first.keys() ^ second.keys()):
        collector.fail(Reason.BAD_RECORD, f"{person} is seen by one camera only", person)
    if (root / _SPLITS).exists():
        table = read_matrix(root / _SPLITS, "ls_set")
        two_cameras.check_split(split, len(table), _SPLITS)
        row = table[split]
        if sorted(row.tolist()) != list(range(1, len(persons) + 1)):
            raise ValueError(
                f"{root / _SPLITS}: row {split} does not list the {len(persons)} persons once each"
            )
        train = {persons[number - 1] for number in row[len(row) // 2 :]}
        source = f"{split} of {_SPLITS}"
    else:
        two_cameras.check_split(split, two_cameras.SPLITS, "iLIDS-VID")
        train = two_cameras.seeded_split(persons, split, split_seed)
        source = f"{split}, drawn by seed {split_seed}: {_SPLITS} is not there"
    return TrackletSet(
        str(root),
        *two_cameras.divide(first, second, train),
        failures=collector.failures,
        notes=collector.notes,
        split=source,
    )


def _camera(root: Path, camera: str, collector: Collector) -> dict[str, Tracklet]:
    found = {}
    for person in list_folders(root / _SEQUENCES / camera):
        folder = f"{_SEQUENCES}/{camera}/{person}"
        tracklet = collector.tracklet(
            f"{camera}/{person}", list_images(root, folder), person, camera
        )
        if tracklet is not None:
            found[person] = tracklet
    return found
