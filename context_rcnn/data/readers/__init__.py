"""Readers of public layouts, one file each: what is on the disk becomes an `Archive` of records.

`LAYOUTS` is the table of them. A new one is a file here and a line there: its flag, its place among
the sources of `ArchiveOptions`, and its splits follow, and a test asks for its row in
docs/formats.md. `megadetector` reads no archive: it gives boxes to the images of one.
"""

import dataclasses
from collections.abc import Callable

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.clocks import CameraClocks
from context_rcnn.data.readers.citycam import read_citycam, read_citycam_splits
from context_rcnn.data.readers.coco_camera_traps import read_coco_camera_traps
from context_rcnn.data.readers.cvat import read_cvat
from context_rcnn.data.readers.image_folder import read_image_folder
from context_rcnn.data.readers.imagenet_vid import read_imagenet_vid, read_imagenet_vid_splits
from context_rcnn.data.readers.label_studio import read_label_studio
from context_rcnn.data.readers.species_folder import read_species_folder
from context_rcnn.data.readers.timelapse import read_timelapse
from context_rcnn.data.records import Archive
from context_rcnn.data.splits import Splits


@dataclasses.dataclass(frozen=True)
class Layout:
    """A public layout, and how it is read.

    Attributes:
        name: name for people, as in docs/formats.md.
        flag: the setting, and the command-line flag, that names the place of the archive.
        what: help text of the flag.
        read: reads the archive at a path.
        read_splits: reads the splits that the layout itself has, if they are there.
        root: the setting with the folder that file names start from, where that is not `flag`.
        named_cameras: whether `read` takes a `CameraNamer`, too, since cameras are named by paths.
        labelled_column: whether `read` takes the name of a column with the labels, too.
        reads_dates: whether `read` takes `clocks`, too, which correct the dates that it reads.
        dated_by_exif: whether dates are those of the photographs if the archive has none at all.
    """

    name: str
    flag: str
    what: str
    read: Callable[..., Archive]
    read_splits: Callable[[str], Splits | None] = lambda path: None
    root: str = ""
    named_cameras: bool = False
    labelled_column: bool = False
    reads_dates: bool = False
    dated_by_exif: bool = False

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings that say where an archive of this layout is."""
        return (self.flag, self.root) if self.root else (self.flag,)

    @property
    def has_clocks(self) -> bool:
        """Whether its images have dates, so that there are clocks to correct."""
        return self.reads_dates or self.dated_by_exif

    def read_archive(
        self, path: str, namer: CameraNamer, clocks: CameraClocks, column: str | None = None
    ) -> Archive:
        """The archive at a path."""
        names = [namer, column] if self.labelled_column else [namer] * self.named_cameras
        dates = {"clocks": clocks} if self.reads_dates else {}
        return self.read(path, *names, **dates)


LAYOUTS = (
    Layout(
        "COCO Camera Traps JSON",
        "input_json",
        "COCO Camera Traps annotations",
        read_coco_camera_traps,
        root="image_root",
        named_cameras=True,
        reads_dates=True,
        dated_by_exif=True,
    ),
    Layout(
        "folder of images",
        "input_folder",
        "folder of images, one folder per camera; overflow folders such as 101RECNX are merged",
        read_image_folder,
        named_cameras=True,
        reads_dates=True,
    ),
    Layout(
        "Timelapse CSV",
        "timelapse_csv",
        "CSV file that Timelapse exported, with a column of species",
        read_timelapse,
        root="image_root",
        named_cameras=True,
        labelled_column=True,
        reads_dates=True,
    ),
    Layout(
        "Label Studio JSON",
        "label_studio_json",
        "JSON file that Label Studio exported",
        read_label_studio,
        root="image_root",
        named_cameras=True,
        dated_by_exif=True,
    ),
    Layout(
        "CVAT XML",
        "cvat_xml",
        "annotations.xml that CVAT exported as 'CVAT for images 1.1'",
        read_cvat,
        root="image_root",
        named_cameras=True,
        dated_by_exif=True,
    ),
    Layout(
        "folder per species",
        "species_folder",
        "folder with a folder per species, and one per camera in each",
        read_species_folder,
        named_cameras=True,
        reads_dates=True,
    ),
    Layout(
        "CityCam",
        "citycam_root",
        "folder of the CityCam data set",
        read_citycam,
        read_citycam_splits,
        reads_dates=True,
    ),
    Layout(
        "ImageNet VID",
        "imagenet_vid_root",
        "folder of ImageNet VID, ILSVRC2015",
        read_imagenet_vid,
        read_imagenet_vid_splits,
    ),
)
