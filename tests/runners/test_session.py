"""A session gives what `watch` and `videos` give, has a fixed size, and can be put away."""

import datetime
import io
import json
import sys
import types

import numpy as np
import pytest
from PIL import Image

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.images import ImageOptions
from context_rcnn.results.records import Detection, ImageResult
from context_rcnn.runners.engine.detections import Detections
from context_rcnn.runners.session import FrameError, Session
from context_rcnn.runners.watch import FolderFrames, Watcher
from tests.cli import hostile_folder

LEVELS = [5, 9, 2, 14, 7]
TOKYO = datetime.timezone(datetime.timedelta(hours=9))


@pytest.fixture(scope="module")
def video_fakes(load_helpers):
    import pathlib

    return load_helpers(pathlib.Path(__file__).parent / "videos/fakes.py")


@pytest.fixture
def watched(photos, fakes, tmp_path):
    """The lines that `watch` writes of one camera, by file."""
    frames = FolderFrames(str(photos), CameraNamer(root_camera="root"), ImageOptions(), once=True)
    with Watcher(fakes.FakeModel(batch_size=1), tmp_path / "state") as watcher:
        lines = map(json.loads, watcher.run(frames))
        return {line["file"]: line for line in lines if line["camera"] == "north"}


def show(session, photos, watched):
    """Shows a session the photographs of the camera, and compares it with `watch`."""
    for file, line in watched.items():
        found = session(photos / file, line["seconds"])
        assert found.boxes.tolist() == np.float32([d["box"] for d in line["detections"]]).tolist()
        assert (
            found.scores.tolist() == np.float32([d["score"] for d in line["detections"]]).tolist()
        )
        assert found.names == [d["name"] for d in line["detections"]]
        assert found.size == (line["width"], line["height"]) and found.seconds == line["seconds"]
        yield found


def test_a_camera_gets_what_watch_gives(photos, watched, fakes):
    session = Session(fakes.FakeModel(batch_size=1), "north")
    size = session.nbytes
    assert size == 8 + 8 + 3  # an int64, a float64 and three booleans
    numbers = [found.frame for found in show(session, photos, watched)]
    assert numbers == list(range(len(watched))) and session.frames == len(watched) > 5
    assert session.nbytes == size and session.latency == 0 and not list(session.finish())


def test_a_camera_goes_on_where_it_was_saved(photos, watched, fakes, tmp_path):
    model = fakes.FakeModel(batch_size=1)
    session, path = Session(model, "north"), tmp_path / "north.npz"
    for number, _ in enumerate(show(session, photos, watched)):
        if number in (2, 5):
            session.save(path)
            restored = Session.restore(model, path)
            assert (restored.camera, restored.frames) == ("north", number + 1)
            session._state = restored._state  # the loop goes on with what was in the file
    with pytest.raises(ValueError, match="is a session of the model fake-hash, not of other-hash"):
        Session.restore(fakes.FakeModel(name="other"), path)
    for name, content, message in (
        ("a.npz", b"no archive", "a.npz: "),
        ("b.npz", None, "b.npz is not the file of a session"),
        ("c.npz", None, "c.npz: .*No such file"),
    ):
        if content:
            (tmp_path / name).write_bytes(content)
        elif name == "b.npz":
            np.savez(tmp_path / name, frames=3)
        with pytest.raises(ValueError, match=message):
            Session.restore(model, tmp_path / name)


def test_frames_come_as_files_bytes_or_pixels(photos, fakes):
    path = next(photos.rglob("*.JPG"))
    kinds = [path, str(path), path.read_bytes()]
    pixels = Image.open(path).convert("RGB")
    files = [Session(fakes.FakeModel(batch_size=1))(frame, 7) for frame in kinds]
    assert len({str(found) for found in files}) == 1
    for frame in (pixels, np.asarray(pixels)):
        model = fakes.FakeModel(batch_size=1)
        Session(model)(frame, 7)
        # As `videos` has its frames: a JPEG of quality 95.
        buffer = io.BytesIO()
        pixels.save(buffer, "JPEG", quality=95)
        expected = fakes.FakeModel(batch_size=1)
        Session(expected)(buffer.getvalue(), 7)
        assert model.stepped == expected.stepped
    with pytest.raises(
        ValueError, match=r"expected pixels uint8 \[height, width, 3\], got float64"
    ):
        Session(fakes.FakeModel())(np.zeros([4, 4, 3]))


@pytest.mark.parametrize(
    "time, seconds",
    [
        (None, None),
        (90, 90),
        (90.75, 90),
        (np.int64(90), 90),
        (datetime.datetime(1970, 1, 2, 0, 0, 5, 999), 86405),
        # A camera's clock is what it shows, whatever zone somebody has put to it.
        (
            datetime.datetime(1970, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=9))),
            3600,
        ),
        (np.datetime64("1970-01-01T00:01:30.5"), 90),
    ],
)
def test_times_are_those_of_the_cameras_clock(photos, fakes, time, seconds):
    path = next(photos.rglob("*.JPG"))
    assert Session(fakes.FakeModel(batch_size=1))(path, time).seconds == seconds


@pytest.mark.parametrize("time", ["noon", float("nan"), [3]])
def test_other_times_are_refused(photos, fakes, time):
    with pytest.raises(ValueError, match="time: expected seconds since 1970 or a datetime"):
        Session(fakes.FakeModel())(next(photos.rglob("*.JPG")), time)


def test_a_frame_that_cannot_be_used_leaves_the_session_as_it_was(photos, watched, fakes, tmp_path):
    session = Session(fakes.FakeModel(batch_size=1), "north")
    for number, _ in enumerate(show(session, photos, watched)):
        for frame, reason in (
            (b"\xff\xd8 no", "unreadable"),
            (tmp_path / "nothing.jpg", "missing_file"),
        ):
            with pytest.raises(FrameError, match=f"frame {number + 1}: {reason}: ") as caught:
                session(frame, 5)
            assert caught.value.reason == reason
    assert session.frames == len(watched)


def levels_of(video_fakes, model, session, levels):
    """Shows a session frames of these greys; what it says of each, with what comes late."""
    found = [session(np.asarray(video_fakes.picture(level)), 10 * level) for level in levels]
    return found, list(session.finish())


def box_of(window):
    """What the fake says of the first frame of its window, see `FakeVideoModel`."""
    return [window[0] / 512, sum(window) % 97 / 200]


@pytest.mark.parametrize("delay", [0, 2])
def test_a_video_gives_each_keyframe_once_in_order(video_fakes, delay):
    model = video_fakes.FakeVideoModel(delay=delay, rows=1)
    session = Session(model, "clip")
    size = session.nbytes
    now, late = levels_of(video_fakes, model, session, LEVELS)
    assert now[:delay] == [None] * delay and session.latency == delay == len(late)
    found = now[delay:] + late
    assert [one.frame for one in found] == list(range(len(LEVELS)))
    assert [one.seconds for one in found] == [10 * level for level in LEVELS]
    for number, one in enumerate(found):
        window = LEVELS[number : number + delay + 1]
        np.testing.assert_allclose(one.boxes[0, :2], box_of(window), atol=1e-5)
    assert session.nbytes == size
    if delay:
        with pytest.raises(ValueError, match="the session of clip has ended"):
            session(np.asarray(video_fakes.picture(1)))


def test_a_video_goes_on_with_the_frames_that_wait(video_fakes, tmp_path):
    model = video_fakes.FakeVideoModel(delay=2, rows=1)
    whole = Session(model, "clip")
    expected = [one for part in levels_of(video_fakes, model, whole, LEVELS) for one in part if one]
    session, found = Session(model, "clip"), []
    for level in LEVELS:
        found.append(session(np.asarray(video_fakes.picture(level)), 10 * level))
        session.save(tmp_path / "clip.npz")
        session = Session.restore(model, tmp_path / "clip.npz")
    found += list(session.finish())
    assert [str(one) for one in found if one] == [str(one) for one in expected]
    session.save(tmp_path / "clip.npz")
    with pytest.raises(ValueError, match="has ended"):
        Session.restore(model, tmp_path / "clip.npz")(np.asarray(video_fakes.picture(1)))


def test_a_frame_from_elsewhere_counts_if_the_model_looks_there(video_fakes):
    model = video_fakes.FakeVideoModel(delay=0, anywhere=True, rows=1)
    session = Session(model, "clip")
    alone = session(np.asarray(video_fakes.picture(5)))
    with_other = session(
        np.asarray(video_fakes.picture(5)), elsewhere=np.asarray(video_fakes.picture(11))
    )
    np.testing.assert_allclose(alone.boxes[0, 1], 5 / 200, atol=1e-5)
    np.testing.assert_allclose(with_other.boxes[0, 1], (5 + 11) / 200, atol=1e-5)
    with pytest.raises(ValueError, match="elsewhere: this model looks at no frames from anywhere"):
        Session(video_fakes.FakeVideoModel(rows=1))(b"", elsewhere=b"")


def test_a_single_frame_model_just_detects(photos, fakes):
    model = fakes.FakeModel(memory=False, batch_size=1)
    session = Session(model)
    path = next(photos.rglob("*.JPG"))
    one, other = session(path), session(path, 5)
    assert one.boxes.tolist() == other.boxes.tolist() and session.nbytes == 0
    assert not model.stepped and (one.frame, other.frame) == (0, 1)


def test_models_that_cannot_work_frame_by_frame_are_refused(fakes):
    given = fakes.FakeModel()
    given.description["proposals"] = 30
    with pytest.raises(ValueError, match="names the boxes of another detector"):
        Session(given)
    bare = fakes.FakeModel()
    bare.extractor_hash = ""
    with pytest.raises(ValueError, match="export it again with --extractor"):
        Session(bare)
    with pytest.raises(ValueError, match="camera: name the camera"):
        Session(fakes.FakeModel(), "")


@pytest.fixture
def found():
    """Two boxes in an image of 200x100."""
    boxes = (Detection((0.1, 0.2, 0.5, 0.6), 2, 0.75), Detection((0.0, 0.0, 1.0, 1.0), 1, 0.25))
    image = ImageResult("a", width=200, height=100, detections=boxes, frame=3)
    return Detections.of(image, {1: "fox", 2: "deer"})


def test_detections_are_chosen_by_score(found):
    assert len(found) == 2 and found.names == ["deer", "fox"] and found.classes.tolist() == [2, 1]
    best = found.above(0.5)
    assert (best.names, best.scores.tolist(), best.boxes.shape) == (["deer"], [0.75], (1, 4))
    assert best.frame == 3 and len(found.above(0.9)) == 0


def test_detections_become_those_of_supervision(found, monkeypatch):
    """With the package where it is installed, else with a stand-in for its constructor."""
    try:
        import supervision  # noqa: F401
    except ModuleNotFoundError:
        module = types.ModuleType("supervision")
        module.Detections = lambda **given: types.SimpleNamespace(**given)
        monkeypatch.setitem(sys.modules, "supervision", module)
    made = found.to_supervision()
    np.testing.assert_allclose(made.xyxy, [[40, 10, 120, 50], [0, 0, 200, 100]], rtol=1e-6)
    assert made.confidence.tolist() == [0.75, 0.25] and made.class_id.tolist() == [2, 1]
    assert made.data["class_name"].tolist() == ["deer", "fox"]
    empty = found.above(0.9).to_supervision()
    assert empty.xyxy.shape == (0, 4) and empty.confidence.shape == (0,)


def test_a_missing_supervision_is_named_with_its_command(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ModuleNotFoundError, match="pip install supervision"):
        found.to_supervision()


def test_damage_of_an_image_file_is_a_warning_with_its_place(fakes):
    session = Session(fakes.FakeModel(memory=False, batch_size=1), "gate")
    session(fakes.photograph())
    with pytest.warns(UserWarning, match="gate, frame 1: a damaged JPEG, of which parts"):
        session(hostile_folder.damaged())
    assert session.frames == 2
