"""Pictures of suspicious places, for a person to judge: what is deleted is real.

    FOLDER/00012 site_3 35 images.jpg   the place where its score is best, with its box
    FOLDER/places.csv                   which picture shows which place
    FOLDER/READ ME FIRST ....txt        what to do

A picture that is still there says: this is background. One that was deleted says: this is real.
A place whose picture was never shown is neither, and stays as it is. So the folder holds all that
was decided, and a place that is found again, also a little shifted, keeps its judgement.
"""

import collections
import csv
import dataclasses
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from context_rcnn.data.images import ImageOptions, check_image, read_file
from context_rcnn.data.paths import FileError
from context_rcnn.data.tables import Table
from context_rcnn.data.timestamps import format_timestamp
from context_rcnn.data.walk import OWN_FOLDER
from context_rcnn.evaluation.repeat_detections import overlap
from context_rcnn.results.atomic import Transaction
from context_rcnn.results.table import MARK, as_text, from_text
from context_rcnn.runners.folder.repeats import Place
from context_rcnn.runners.folder.words import BACKGROUND, NEW, REAL

TABLE = "places.csv"
READ_ME = "READ ME FIRST - delete the pictures of REAL animals.txt"
COLUMNS = ("picture", "camera", "class", "ymin", "xmin", "ymax", "xmax", "images", "file")
_WIDTH = 1200
_CAPTION = 48

TEXT = """\
Each picture here shows a place where the same box came back in many images of one camera.
Mostly that is a rock, a branch or grass that looks like an animal.

  1. Look at every picture.
  2. DELETE a picture if its box holds a REAL animal, a person or a vehicle.
     KEEP it if its box holds only background.
  3. Run the same command again.

What is boxed in the pictures that are STILL HERE is then marked as background: its confidence
becomes negative, and Timelapse and others no longer show it. What was boxed in the pictures that
you deleted stays as it is. No photograph is ever changed or removed.

To judge everything anew, delete this whole folder.
"""


@dataclasses.dataclass(frozen=True)
class Shown:
    """A place that was shown in an earlier run."""

    picture: str
    camera: str
    class_name: str
    box: tuple[float, float, float, float]
    images: int
    file: str


def judge(
    places: Iterable[Place], folder: str | Path, class_names: Mapping[int, str], least_iou: float
) -> list[str]:
    """What was decided about each place: `BACKGROUND`, `REAL` or `NEW`.

    Args:
        places: places of this run.
        folder: folder of the pictures.
        class_names: names of the classes by id.
        least_iou: overlap from which a place is the one that was shown.
    """
    shown: dict[tuple[str, str], list[Shown]] = collections.defaultdict(list)
    for known in _read(Path(folder)):
        shown[known.camera, known.class_name].append(known)
    verdicts = []
    for place in places:
        alike = shown.get((place.camera, class_names[place.class_id]), [])
        overlaps = overlap(np.array(place.box), np.array([s.box for s in alike]).reshape(-1, 4))
        if overlaps.max(initial=0.0) < least_iou:
            verdicts.append(NEW)
            continue
        picture = Path(folder) / alike[int(overlaps.argmax())].picture
        verdicts.append(BACKGROUND if picture.exists() else REAL)
    return verdicts


def show(
    places: Sequence[Place],
    folder: str | Path,
    root: str,
    class_names: Mapping[int, str],
    options: ImageOptions,
) -> None:
    """Adds pictures of places that were not shown before.

    The table is written last: until then the pictures count as never shown, so a run that was
    killed here shows them again.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWN_FOLDER).touch()
    (folder / READ_ME).write_text(TEXT, encoding="utf-8")
    shown = _read(folder)
    number = max((int(known.picture[:5]) for known in shown), default=0)
    for place in places:
        number += 1
        camera = re.sub(r"[^A-Za-z0-9_-]+", "_", place.camera)[:40]
        picture = f"{number:05d} {camera} {place.images} images.jpg"
        name = class_names[place.class_id]
        _draw(place, name, root, options).save(folder / picture, "JPEG", quality=88)
        shown.append(Shown(picture, place.camera, name, place.box, place.images, place.best_file))
    with Transaction() as files:
        file = files.open(folder / TABLE)
        file.write(MARK)
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for known in shown:
            names = (as_text(known.camera), as_text(known.class_name))
            table.writerow([known.picture, *names, *known.box, known.images, as_text(known.file)])


def _read(folder: Path) -> list[Shown]:
    path = folder / TABLE
    if not path.exists():
        return []
    again = f"delete the folder {folder} to review again"
    table = Table(path)
    if tuple(table.columns) != COLUMNS:
        raise ValueError(
            f"{path}: the columns are {table.columns}, expected {', '.join(COLUMNS)}; {again}"
        )
    shown = []
    for where, row in table.rows():
        try:
            shown.append(
                Shown(
                    os.path.basename(row["picture"]),
                    from_text(row["camera"]),
                    from_text(row["class"]),
                    (
                        float(row["ymin"]),
                        float(row["xmin"]),
                        float(row["ymax"]),
                        float(row["xmax"]),
                    ),
                    int(row["images"]),
                    from_text(row["file"]),
                )
            )
        except ValueError as error:
            raise ValueError(f"{where}: {error}; {again}") from error
    return shown


def _draw(place: Place, class_name: str, root: str, options: ImageOptions) -> Image.Image:
    """The image with the box, and a line that says what to do with the picture."""
    from context_rcnn.evaluation.drawing import draw_boxes  # imports TensorFlow

    try:
        data = check_image(read_file(root, place.best_file, options), options).encoded
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except FileError:  # gone since it was detected
        image = Image.new("RGB", (640, 480), "#404040")
    image.thumbnail((_WIDTH, _WIDTH))
    names = {place.class_id: class_name}
    box, score = np.array([place.best_box]), [place.best_score]
    draw_boxes(image, box, [place.class_id], score, names)
    framed = Image.new("RGB", (max(image.width, 640), image.height + _CAPTION), "#202020")
    framed.paste(image, (0, _CAPTION))
    when = [format_timestamp(s)[:10] for s in (place.first, place.last) if s is not None]
    lines = (
        "Is the box a REAL animal, person or vehicle? Then DELETE this picture. If not, keep it.",
        f"{place.images} images {' to '.join(when)}  {place.best_file[-60:]}",
    )
    font = ImageFont.load_default(size=15)
    draw = ImageDraw.Draw(framed)
    for i, line in enumerate(lines):
        text = line.encode("ascii", "replace").decode()
        draw.text((6, 4 + 21 * i), text, fill=("#ffffff", "#b0b0b0")[i], font=font)
    return framed
