"""Reader of a folder per species: root/SPECIES/CAMERA/.../image, sorted by somebody's hands.

The folders below the species name the camera, as in a bare folder of images. Images of a species
folder called `empty` or `blank` show no animal.
"""

import dataclasses
from pathlib import Path

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.clocks import UNCORRECTED, CameraClocks
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.readers.image_folder import read_image_folder
from context_rcnn.data.records import Archive, LabelState, is_empty_class

STAGE = "species_folder"


def read_species_folder(
    root: str | Path,
    camera_namer: CameraNamer | None = None,
    clocks: CameraClocks = UNCORRECTED,
) -> Archive:
    """All images below the species folders; those that lie beside them have no species.

    Raises:
        ValueError: If `root` is not a folder.
    """
    namer = camera_namer or CameraNamer(root_camera=Path(root).resolve().name)

    def without_species(name: str) -> str | None:
        return namer(name.partition("/")[2] or name)

    archive = read_image_folder(root, without_species, clocks)
    records, failures = [], list(archive.failures)
    for record in archive.records:
        species, inside, _ = record.file_name.partition("/")
        if not inside:
            names = (record.file_name, record.image_id, record.camera)
            detail = "lies beside the species folders, so that it has no species"
            failures.append(Failure(STAGE, Reason.UNKNOWN_CATEGORY, detail, *names))
            continue
        empty = is_empty_class(species)
        records.append(
            dataclasses.replace(
                record,
                label_state=LabelState.EMPTY if empty else LabelState.IMAGE_LEVEL,
                class_names=() if empty else (species,),
            )
        )
    classes = sorted({name for record in records for name in record.class_names})
    return Archive(records, failures, tuple(classes), archive.images_listed, archive.notes)
