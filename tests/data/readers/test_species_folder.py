"""Photographs that somebody has sorted into a folder per species."""

from PIL import Image

from context_rcnn.data.failures import Reason
from context_rcnn.data.readers.species_folder import read_species_folder
from context_rcnn.data.records import LabelState

FILES = (
    "fox/site 1/a.jpg",
    "fox/site 2/101RECNX/b.jpg",
    "empty/site 1/c.jpg",
    "fox/d.jpg",
    "e.jpg",
)


def test_folders_name_species_and_cameras(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    archive = read_species_folder(tmp_path)
    found = {r.image_id: (r.camera, r.label_state, r.class_names) for r in archive.records}
    assert found == {
        "fox/site 1/a.jpg": ("site 1", LabelState.IMAGE_LEVEL, ("fox",)),
        "fox/site 2/101RECNX/b.jpg": ("site 2", LabelState.IMAGE_LEVEL, ("fox",)),
        "empty/site 1/c.jpg": ("site 1", LabelState.EMPTY, ()),
        "fox/d.jpg": (tmp_path.name, LabelState.IMAGE_LEVEL, ("fox",)),
    }
    assert archive.class_names == ("fox",) and archive.images_listed == len(FILES)
    (failure,) = archive.failures
    assert (failure.file, failure.reason) == ("e.jpg", Reason.UNKNOWN_CATEGORY)
