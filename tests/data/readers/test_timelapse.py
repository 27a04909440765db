"""Timelapse's CSV export, small, as its versions write it; and what is wrong with one."""

import pytest

from context_rcnn.data.failures import Reason
from context_rcnn.data.readers.timelapse import read_timelapse
from context_rcnn.data.records import LabelState
from context_rcnn.data.timestamps import parse_timestamp

EXPORT = """\
RootFolder,File,RelativePath,DateTime,DeleteFlag,Species,Count
photos,IMG_0001.JPG,site 1\\100RECNX,2023-05-01 06:07:08,false,red deer,2
photos,IMG_0002.JPG,site 1\\100RECNX,2023-05-01 06:08:08,false,empty,0
photos,IMG_0001.JPG,site 2,2023-05-02 00:00:00,false,"badger; fox",2
photos,IMG_0003.JPG,site 2,2023-05-03 00:00:00,false,,0
photos,alone.jpg,,2023-05-04 00:00:00,false,fox,1
"""


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "photos" / "labels.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding=encoding)
    return path


def test_every_row_is_an_image_with_its_label(tmp_path):
    archive = read_timelapse(write(tmp_path, EXPORT, "utf-8-sig"))
    assert archive.images_listed == 5 and not archive.failures
    assert archive.class_names == ("badger", "fox", "red deer")
    found = [(r.image_id, r.camera, r.label_state, r.class_names) for r in archive.records]
    assert found == [
        ("site 1/100RECNX/IMG_0001.JPG", "site 1", LabelState.IMAGE_LEVEL, ("red deer",)),
        ("site 1/100RECNX/IMG_0002.JPG", "site 1", LabelState.EMPTY, ()),
        ("site 2/IMG_0001.JPG", "site 2", LabelState.IMAGE_LEVEL, ("badger", "fox")),
        ("site 2/IMG_0003.JPG", "site 2", LabelState.UNLABELLED, ()),
        ("alone.jpg", "photos", LabelState.IMAGE_LEVEL, ("fox",)),
    ]
    assert archive.records[0].seconds == parse_timestamp("2023-05-01 06:07:08")


def test_older_exports_have_date_and_time_apart(tmp_path):
    text = "File;RelativePath;Date;Time;Animal\na.jpg;x;3-Feb-2021;04:05:06;fox\n"
    (record,) = read_timelapse(write(tmp_path, text)).records
    assert record.seconds == parse_timestamp("2021-02-03 04:05:06")
    assert record.class_names == ("fox",)


def test_bad_rows_are_failures_with_their_line(tmp_path):
    rows = [
        "photos,../x.jpg,,2023-05-01 00:00:00,false,fox,1",
        "photos,alone.jpg,,2023-05-04 00:00:00,false,fox,1",
        "photos,b.jpg,,yesterday,false,fox,1",
    ]
    archive = read_timelapse(write(tmp_path, EXPORT + "\n".join(rows)))
    found = [(f.reason, f.lost) for f in archive.failures]
    assert found == [
        (Reason.OUTSIDE_ROOT, "image"),
        (Reason.DUPLICATE_IMAGE, "image"),
        (Reason.BAD_DATE, "date"),
    ]
    assert "labels.csv, line 7" in archive.failures[0].detail
    assert archive.images_listed == 8 == len(archive.records) + 2


@pytest.mark.parametrize(
    "text, column, message",
    [
        ("File,Fox\na.jpg,1\n", None, "which column has the species.*File, Fox"),
        ("File,Species,Label\na.jpg,,\n", None, "which column has the species"),
        (
            "File,Species\na.jpg,\n",
            "Art",
            r"no column 'Art' \(label_column\); it has File, Species",
        ),
        ("Name,Species\na.jpg,\n", None, "no column 'File'"),
    ],
)
def test_a_table_without_its_columns_is_refused_by_name(tmp_path, text, column, message):
    with pytest.raises(ValueError, match=f"labels.csv: .*{message}"):
        read_timelapse(write(tmp_path, text), column=column)


def test_any_column_can_have_the_species(tmp_path):
    archive = read_timelapse(write(tmp_path, EXPORT.replace("Species", "Art")), column="art")
    assert archive.class_names == ("badger", "fox", "red deer")
