"""Reader of bare folders of camera-trap images: no labels, cameras by folder, time by EXIF."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.clocks import UNCORRECTED, CameraClocks
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.images import read_clock
from context_rcnn.data.paths import FileError, resolve_inside
from context_rcnn.data.records import Archive, ImageRecord
from context_rcnn.data.timestamps import ClockError
from context_rcnn.data.walk import PassedOver, walk_images

STAGE = "image_folder"


def read_image_folder(
    root: str | Path,
    camera_namer: Callable[[str], str | None] | None = None,
    clocks: CameraClocks = UNCORRECTED,
) -> Archive:
    """All images below a folder, in the order of their paths.

    The path relative to `root` is the image id. Everything else that lies there is reported too:
    other files, hidden ones, links to folders, and folders that cannot be listed.

    Raises:
        ValueError: If `root` is not a folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    camera_namer = camera_namer or CameraNamer(root_camera=root.resolve().name)
    passed = PassedOver()
    file_names = sorted(walk_images(root, passed))
    records, failures = [], passed.take()
    for file_name in file_names:
        names: dict[str, Any] = {"file": file_name, "image_id": file_name}
        camera = camera_namer(file_name)
        if camera is None:
            failures.append(
                Failure(STAGE, Reason.NO_CAMERA, "no camera rule covers this path", **names)
            )
            continue
        seconds = None
        try:
            place = resolve_inside(root, file_name)
            seconds = read_clock(place, clocks.corrector(camera))
        except FileError as error:
            failures.append(Failure(STAGE, error.reason, error.detail, camera=camera, **names))
            continue
        except ClockError as error:
            detail = f"EXIF date: {error}"
            failures.append(
                Failure(STAGE, error.reason, detail, camera=camera, lost="date", **names)
            )
        records.append(
            ImageRecord(image_id=file_name, file_name=file_name, camera=camera, seconds=seconds)
        )
    return Archive(records, failures, (), images_listed=len(file_names))
