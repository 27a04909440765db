"""Bare folders: cameras by path, clocks by EXIF, bursts by pauses."""

import pytest

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.failures import Reason
from context_rcnn.data.readers.image_folder import read_image_folder
from context_rcnn.data.records import ImageRecord
from context_rcnn.data.sequences import assign_sequences


@pytest.mark.parametrize(
    "folder",
    ["100RECNX", "101EK113", "102_BTCF", "103MEDIA", "100DSCIM", "DCIM/100CANON", "DCIM"],
)
def test_overflow_folders_belong_to_their_camera(folder):
    assert CameraNamer()(f"north/site_3/{folder}/IMG_0001.JPG") == "north/site_3"


@pytest.mark.parametrize("folder", ["100 acre wood", "media", "site100MEDIA", "2013"])
def test_ordinary_folders_are_cameras(folder):
    assert CameraNamer()(f"{folder}/a.jpg") == folder


def test_images_in_no_folder_are_of_the_root_camera():
    namer = CameraNamer(root_camera="garden")
    assert namer("a.jpg") == "garden"
    assert namer("100RECNX/a.jpg") == "garden"


def test_a_pattern_names_the_camera():
    namer = CameraNamer(pattern=r"_(?P<camera>C\d+)_")
    assert namer("2013/x_C07_1.jpg") == "C07"
    assert namer("2013/x.jpg") is None


@pytest.mark.parametrize("pattern", ["(", r"C\d+"])
def test_a_bad_pattern_is_an_error(pattern):
    with pytest.raises(ValueError, match="camera_regex"):
        CameraNamer(pattern=pattern)


def test_a_table_names_the_camera_and_the_longest_path_counts(tmp_path):
    table = tmp_path / "cameras.csv"
    table.write_text("folder,camera\na,A\na\\b,B\n")
    namer = CameraNamer(csv_path=table)
    assert namer("a/x.jpg") == "A"
    assert namer("a/b/c/x.jpg") == "B"
    assert namer("ab/x.jpg") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("place,camera\na,A\n", "needs the columns"),
        ("file,camera\na,\n", "line 2: 'file' and 'camera' must not be empty"),
        ("file,camera\na,A\na,B\n", "line 3: 'a' has two cameras"),
        ("file,camera\n../a,A\n", "line 2: .* does not stay inside"),
        ("", "needs the columns"),
    ],
)
def test_a_bad_table_is_an_error_that_names_the_line(tmp_path, text, message):
    table = tmp_path / "cameras.csv"
    table.write_text(text)
    with pytest.raises(ValueError, match=message):
        CameraNamer(csv_path=table)


@pytest.fixture
def folder(tmp_path, jpeg):
    root = tmp_path / "photos"
    files = {
        "site_1/100RECNX/b.JPG": jpeg(date="2013:10:04 13:31:53"),
        "site_1/101RECNX/a.jpg": jpeg(date="2013:10:04 13:32:53"),
        "site_1/101RECNX/c.jpg": jpeg(date="2013:10:04 13:33:54"),
        "site_2/junk.jpg": jpeg(date="2000:01:01 00:00:00"),
        "site_2/undated.jpeg": jpeg(),
        "site_2/broken.jpg": b"broken",
        "site_2/notes.txt": b"",
        "site_2/._a.jpg": b"",
        ".trash/a.jpg": b"",
    }
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def test_a_folder_is_read_in_the_order_of_paths(folder):
    archive = read_image_folder(folder)
    assert [(record.camera, record.image_id) for record in archive.records] == [
        ("site_1", "site_1/100RECNX/b.JPG"),
        ("site_1", "site_1/101RECNX/a.jpg"),
        ("site_1", "site_1/101RECNX/c.jpg"),
        ("site_2", "site_2/broken.jpg"),
        ("site_2", "site_2/junk.jpg"),
        ("site_2", "site_2/undated.jpeg"),
    ]
    assert archive.records[0].seconds == 1380893513
    assert archive.records[5].seconds is None
    assert archive.images_listed == 6
    passed = {f.file: f.reason for f in archive.failures if f.lost == "nothing"}
    assert passed == {
        ".trash": Reason.HIDDEN,
        "site_2/._a.jpg": Reason.HIDDEN,
        "site_2/notes.txt": Reason.OTHER_FILE,
    }


def test_a_junk_clock_loses_the_date_only(folder):
    (failure,) = (f for f in read_image_folder(folder).failures if f.lost == "date")
    assert (failure.reason, failure.lost) == (Reason.JUNK_DATE, "date")
    assert failure.file == "site_2/junk.jpg"


def test_images_no_rule_covers_are_named(folder):
    archive = read_image_folder(folder, CameraNamer(pattern="(?P<camera>site_1)"))
    assert len(archive.records) == 3
    assert [f.reason for f in archive.failures if f.lost == "image"] == [Reason.NO_CAMERA] * 3


def test_links_are_not_followed_out_of_the_folder(folder, tmp_path, jpeg):
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "a.jpg").write_bytes(jpeg())
    (folder / "link").symlink_to(tmp_path / "private")
    (folder / "site_1" / "link.jpg").symlink_to(tmp_path / "private" / "a.jpg")
    archive = read_image_folder(folder)
    assert {f.file for f in archive.failures if f.reason == Reason.LINKED_FOLDER} == {"link"}
    assert Reason.OUTSIDE_ROOT in [failure.reason for failure in archive.failures]
    assert len(archive.records) == 6


def test_a_folder_that_cannot_be_listed_is_named(folder, locked):
    locked.add(folder / "site_1")
    archive = read_image_folder(folder)
    assert {record.camera for record in archive.records} == {"site_2"}
    (failure,) = (f for f in archive.failures if f.lost == "folder")
    assert (failure.file, failure.reason) == ("site_1", Reason.NOT_LISTED)
    assert "Permission denied" in failure.detail


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="is not a folder"):
        read_image_folder(tmp_path / "nothing")


def sequences(records, **options):
    return {
        record.image_id: (record.seq_id, record.frame_num, record.seq_num_frames)
        for record in assign_sequences(records, **options)
    }


def record(image_id, seconds, camera="A", **fields):
    return ImageRecord(image_id, f"{image_id}.jpg", camera, seconds, **fields)


def test_a_pause_longer_than_the_gap_starts_a_sequence():
    records = [record("c", 1121), record("a", 1000), record("b", 1060)]
    assert sequences(records) == {
        "a": ("from:a", 0, 2),
        "b": ("from:a", 1, 2),
        "c": ("from:c", 0, 1),
    }
    assert len({seq for seq, _, _ in sequences(records, gap_seconds=61).values()}) == 1


def test_undated_images_are_sequences_of_their_own():
    found = sequences([record("a", 1000), record("b", None), record("c", None)])
    assert [seq for seq, _, _ in found.values()] == ["from:a", "from:b", "from:c"]


def test_cameras_never_share_a_sequence():
    found = sequences([record("a", 1000), record("b", 1001, camera="B")])
    assert found["a"][0] != found["b"][0]


def test_given_sequences_stay():
    given = record("a", 1000, seq_id="s", seq_num_frames=3, frame_num=1)
    found = sequences([given, record("b", 1001, seq_id="s")])
    assert found["a"] == ("s", 0, 3), "numbered anew, since one frame had no number"
    assert found["b"] == ("s", 1, 2)
    assert sequences([given])["a"] == ("s", 1, 3)
