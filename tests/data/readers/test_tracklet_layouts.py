"""Tracklets in the published layouts, in small, some of them damaged."""

import json

import numpy as np
import pytest
import scipy.io
from PIL import Image

from context_rcnn.data.readers.tracklet_folder import read_all
from context_rcnn.data.readers.tracklet_layouts import TrackletOptions, read_tracklets
from context_rcnn.data.tracklet_images import ClipReader, check_tracklets
from context_rcnn.data.tracklets import JUNK, UNKNOWN, Tracklet


def picture(path, value=100, size=(8, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def matrix(path, name, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {name: np.array(rows)})


def read(root, layout, **options):
    return read_tracklets(TrackletOptions(str(root), layout, **options))


@pytest.fixture
def mars(tmp_path):
    """Two people to learn; one to find in three tracklets, a distractor, junk."""
    train = [f"0001C1T0001F00{f}.jpg" for f in (1, 2)] + ["0003C2T0001F001.jpg"]
    test = [f"00-1C1T0001F00{f}.jpg" for f in (1, 2)] + ["0000C3T0001F001.jpg"]
    test += [f"0002C1T000{t}F001.jpg" for t in (1, 2)] + ["0002C4T0003F001.jpg"]
    info = tmp_path / "info"
    info.mkdir()
    for part, names in (("train", train), ("test", test)):
        (info / f"{part}_name.txt").write_text("\n".join(names))
        for name in names:
            picture(tmp_path / f"bbox_{part}" / name[:4] / name)
    matrix(info / "tracks_train_info.mat", "track_train_info", [[1, 2, 1, 1], [3, 3, 3, 2]])
    rows = [[1, 2, -1, 1], [3, 3, 0, 3], [4, 4, 2, 1], [5, 5, 2, 1], [6, 6, 2, 4]]
    matrix(info / "tracks_test_info.mat", "track_test_info", rows)
    matrix(info / "query_IDX.mat", "query_IDX", [[3]])
    return tmp_path


def test_mars_is_read_with_its_junk_and_distractors(mars):
    found = read(mars, "mars")
    assert [(t.identity, t.camera, t.frames) for t in found.train] == [
        (
            "1",
            "C1",
            ("bbox_train/0001/0001C1T0001F001.jpg", "bbox_train/0001/0001C1T0001F002.jpg"),
        ),
        ("3", "C2", ("bbox_train/0003/0003C2T0001F001.jpg",)),
    ]
    assert [(t.identity, t.camera) for t in found.query] == [("2", "C1")]
    assert [t.identity for t in found.gallery] == [JUNK, "0", "2", "2"]
    assert found.gallery[0].frames[0] == "bbox_test/00-1/00-1C1T0001F001.jpg"
    assert found.queries_in_gallery and not found.failures


def test_wrong_rows_of_mars_are_failures_with_their_names(mars):
    rows = [[1, 99, -1, 1], [3, 2, 0, 3], [4, 4, 2, 1]]
    matrix(mars / "info/tracks_test_info.mat", "track_test_info", rows)
    matrix(mars / "info/query_IDX.mat", "query_IDX", [[3, 7]])
    found = read(mars, "mars")
    assert len(found.query) == 1 and not found.gallery
    reasons = [(str(f.reason), f.lost) for f in found.failures]
    assert reasons == [("bad_record", "tracklet"), ("no_frames", "tracklet")] + [
        ("bad_record", "tracklet")
    ]
    assert "from 1 to 99 of 6 names" in found.failures[0].detail
    assert "query 7 is none of the 3" in found.failures[2].detail


def test_names_that_lead_out_of_the_folder_are_not_followed(mars):
    (mars / "info/train_name.txt").write_text("../../secret.jpg\n../x\n0003C2T0001F001.jpg\n")
    found = read(mars, "mars")
    assert [t.identity for t in found.train] == ["3"]
    assert {str(f.reason) for f in found.failures} == {"outside_root", "no_frames"}


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("info/query_IDX.mat", b"", "query_IDX.mat: cannot be read as a MATLAB file"),
        ("info/query_IDX.mat", None, "query_IDX.mat: no such file"),
        ("info/train_name.txt", None, "train_name.txt: no such file; is its folder that of MARS"),
    ],
)
def test_a_folder_that_is_not_mars_is_refused_by_file(mars, file, content, message):
    (mars / file).unlink()
    if content is not None:
        (mars / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(mars, "mars")


def test_a_matrix_of_the_wrong_kind_is_refused(mars):
    matrix(mars / "info/tracks_train_info.mat", "track_train_info", [[1, 2, 1]])
    with pytest.raises(ValueError, match="expected the columns start, end, person, camera"):
        read(mars, "mars")
    matrix(mars / "info/tracks_train_info.mat", "other", [[1, 2, 1, 1]])
    with pytest.raises(ValueError, match="has no variable 'track_train_info'"):
        read(mars, "mars")


def test_duke_is_read_by_the_names_of_its_images(tmp_path):
    picture(tmp_path / "train/0001/0001/0001_C6_F0010_X1.jpg")
    picture(tmp_path / "train/0001/0001/0001_C6_F0009_X1.jpg")
    picture(tmp_path / "query/0002/0002/0002_C1_F0001_X1.jpg")
    picture(tmp_path / "gallery/0002/0003/0002_C2_F0001_X1.jpg")
    picture(tmp_path / "gallery/0002/0004/0002_C2_F0001_X1.jpg")
    picture(tmp_path / "gallery/0002/0004/0002_C3_F0002_X1.jpg")
    picture(tmp_path / "gallery/0002/0005/misnamed.jpg")
    found = read(tmp_path, "duke_video")
    assert [f.rpartition("/")[2] for f in found.train[0].frames] == [
        "0001_C6_F0009_X1.jpg",
        "0001_C6_F0010_X1.jpg",
    ]
    assert (found.query[0].identity, found.query[0].camera) == ("2", "C1")
    assert [t.camera for t in found.gallery] == ["C2"] and not found.queries_in_gallery
    reasons = [str(f.reason) for f in found.failures]
    assert reasons == ["contradictory_labels", "no_camera", "no_frames"]
    (tmp_path / "query").rename(tmp_path / "asked")
    with pytest.raises(ValueError, match="no folder 'query'"):
        read(tmp_path, "duke_video")


def two_cameras(root, first, second, persons, frames=3):
    for camera in (first, second):
        for person in persons:
            for frame in range(frames):
                picture(root / camera / person / f"{frame:04}.png")


def test_ilids_takes_the_first_half_of_a_row_for_the_test(tmp_path):
    persons = [f"person{n:03}" for n in (1, 2, 5, 9)]
    two_cameras(tmp_path / "i-LIDS-VID/sequences", "cam1", "cam2", persons)
    splits = tmp_path / "train-test people splits/train_test_splits_ilidsvid.mat"
    matrix(splits, "ls_set", [[1, 2, 3, 4], [4, 2, 1, 3]])
    found = read(tmp_path, "ilids_vid", split=1)
    assert [t.identity for t in found.query] == ["person002", "person009"]
    assert {t.camera for t in found.query} == {"cam1"}
    assert [t.identity for t in found.gallery] == ["person002", "person009"]
    assert {t.camera for t in found.gallery} == {"cam2"}
    assert sorted({t.identity for t in found.train}) == ["person001", "person005"]
    assert len(found.train) == 4
    with pytest.raises(ValueError, match="split 2 does not exist.* has 2"):
        read(tmp_path, "ilids_vid", split=2)
    matrix(splits, "ls_set", [[1, 2, 2, 4]])
    with pytest.raises(ValueError, match="row 0 does not list the 4 persons once each"):
        read(tmp_path, "ilids_vid")


def test_ilids_without_its_table_is_split_by_a_seed_that_the_result_names(tmp_path):
    persons = [f"person{n:03}" for n in range(10)]
    two_cameras(tmp_path / "i-LIDS-VID/sequences", "cam1", "cam2", persons, frames=1)
    picture(tmp_path / "i-LIDS-VID/sequences/cam1/person777/1.png")
    splits = [read(tmp_path, "ilids_vid", split=n, split_seed=3) for n in (0, 0, 1)]
    queries = [[t.identity for t in found.query] for found in splits]
    assert queries[0] == queries[1] != queries[2]
    assert len(splits[0].train) == 10 and len(queries[0]) == 5
    assert "drawn by seed 3" in splits[0].split
    assert "seen by one camera only" in splits[0].failures[0].detail


def test_prid_uses_the_persons_with_enough_frames_in_both_cameras(tmp_path):
    root = tmp_path / "prid_2011/multi_shot"
    two_cameras(root, "cam_a", "cam_b", ["person_0001", "person_0002", "person_0200"], frames=4)
    two_cameras(root, "cam_a", "cam_b", ["person_0003"], frames=2)
    two_cameras(root, "cam_a", "cam_b", ["person_0201"], frames=4)
    picture(root / "cam_a/person_0007/1.png")
    found = read(tmp_path, "prid2011", min_frames=3)
    used = {t.identity for t in found.train + found.query}
    assert used == {"person_0001", "person_0002", "person_0200"}
    assert found.notes["persons_with_fewer_frames"] == 1
    assert found.notes["persons_in_one_camera_only"] == 1
    (tmp_path / "splits_prid2011.json").write_text(json.dumps([{"train": ["person_0002"]}]))
    found = read(tmp_path, "prid2011", min_frames=3)
    assert [t.identity for t in found.query] == ["person_0001", "person_0200"]
    assert [t.camera for t in found.train] == ["cam_a", "cam_b"]


@pytest.mark.parametrize("text", ["[", "{}", '[{"train": "x"}]'])
def test_a_damaged_file_of_splits_is_named(tmp_path, text):
    two_cameras(tmp_path / "prid_2011/multi_shot", "cam_a", "cam_b", ["person_0001"])
    (tmp_path / "splits_prid2011.json").write_text(text)
    with pytest.raises(ValueError, match=r"splits_prid2011\.json"):
        read(tmp_path, "prid2011")


def test_own_tracklets_are_identity_and_camera_tracklet(tmp_path):
    picture(tmp_path / "F12/north_3/002.jpg")
    picture(tmp_path / "F12/north_3/001.jpg")
    picture(tmp_path / "F12/north_3/.hidden.jpg")
    (tmp_path / "F12/north_3/notes.txt").write_text("x")
    picture(tmp_path / "F12/upper_ridge_1/001.PNG")
    picture(tmp_path / "unknown/north_4/001.jpg")
    picture(tmp_path / "M3/noname/001.jpg")
    (tmp_path / "M3/south_1").mkdir()
    found, collector = read_all(tmp_path)
    assert [(t.name, t.identity, t.camera) for t in found] == [
        ("F12/north_3", "F12", "north"),
        ("F12/upper_ridge_1", "F12", "upper_ridge"),
        ("unknown/north_4", UNKNOWN, "north"),
    ]
    assert found[0].frames == ("F12/north_3/001.jpg", "F12/north_3/002.jpg")
    assert [str(f.reason) for f in collector.failures] == ["no_camera", "no_frames"]


def test_own_tracklets_are_split_by_identity(tmp_path):
    for who in range(40):
        for camera in ("a_1", "a_2", "b_1"):
            picture(tmp_path / f"id{who}" / camera / "0.jpg")
    found = read(tmp_path, "folder", test_fraction=0.25)
    learned, asked = ({t.identity for t in part} for part in (found.train, found.query))
    assert not learned & asked and 4 <= len(asked) <= 16 and len(learned | asked) == 40
    assert len(found.query) == 2 * len(asked)  # one of each camera
    assert {t.name.rpartition("/")[2] for t in found.gallery} == {"a_2"}
    again = read(tmp_path, "folder", test_fraction=0.25, split_seed=1)
    assert {t.identity for t in again.query} != asked


def test_own_tracklets_can_be_split_by_hand(tmp_path):
    for part in ("train", "query", "gallery"):
        picture(tmp_path / part / "F1" / "a_1" / "0.jpg")
    found = read(tmp_path, "folder")
    assert [t.name for t in found.gallery] == ["gallery/F1/a_1"]


def test_an_empty_folder_and_a_wrong_layout_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected identity/camera_tracklet"):
        read(tmp_path, "folder")
    with pytest.raises(ValueError, match="must be one of mars, duke_video"):
        read(tmp_path, "market")
    with pytest.raises(ValueError, match="is not a folder"):
        read(tmp_path / "nowhere", "mars")


def frames_of(root, *values):
    for i, value in enumerate(values):
        path = root / "x" / f"{i}.png"
        if isinstance(value, bytes):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value)
        elif value is not None:
            picture(path, value)
    return Tracklet("x", tuple(f"x/{i}.png" for i in range(len(values))), "1", "c")


def test_the_nearest_frame_stands_for_one_that_cannot_be_read(tmp_path):
    tracklet = frames_of(tmp_path, 10, b"", b"no image", 40, None)
    reader = ClipReader(str(tmp_path), (4, 2))
    clip = reader.clip(tracklet, [0, 1, 2, 3, 4])
    assert clip.shape == (5, 4, 2, 3) and clip.dtype == np.uint8
    assert clip[:, 0, 0, 0].tolist() == [10, 10, 40, 40, 40]
    assert {f.file: str(f.reason) for f in reader.failures.values()} == {
        "x/1.png": "empty_file",
        "x/2.png": "unreadable",
        "x/4.png": "missing_file",
    }


def test_a_tracklet_without_a_readable_frame_is_named(tmp_path):
    tracklet = frames_of(tmp_path, b"", b"")
    found = list(check_tracklets(str(tmp_path), [tracklet]))
    assert [(str(f.reason), f.file, f.lost) for f in found] == [
        ("empty_file", "x/0.png", "image"),
        ("empty_file", "x/1.png", "image"),
        ("no_frames", "x", "tracklet"),
    ]


def test_frames_are_stretched_to_the_size_of_the_model(tmp_path):
    picture(tmp_path / "x/0.png", size=(31, 17))
    reader = ClipReader(str(tmp_path), (6, 5))
    assert reader.frame("x/0.png").shape == (6, 5, 3)
