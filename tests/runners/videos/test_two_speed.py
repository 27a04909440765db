"""Two detectors at two speeds, with real threads and in turns; models that look sparingly."""

import io
import json
import threading
import time

import numpy as np
import pytest

from context_rcnn.runners.videos.live import stream_of, watch_stream
from context_rcnn.runners.videos.sparing import SparingModel
from context_rcnn.runners.videos.two_speed import StrongWorker, TwoSpeedRunner, _Job
from tests.runners.videos.fakes import level, picture, write_video

ROWS = 2


class FakeTwoSpeed:
    """Says in its boxes which frame it sees and which frame the help is of; the grey is its number.

    `gate` holds the strong detector back until it is opened; `fails_at` is the look that fails.
    """

    has_memory, extractor_hash = False, ""
    class_names = {1: "fox"}

    def __init__(self, gate=None, fails_at=None, rows=ROWS):
        stream = {"inputs": [], "latency": 0, "seed": 0, "two_speeds": True}
        self.description = {"name": "fake", "version": "1", "hash": "h", "stream": stream}
        self.gate, self.fails_at, self.rows = gate, fails_at, rows
        self.looked = []
        self.threads = set()

    def detect(self, encoded):
        raise AssertionError("it detects in videos")

    def initial_strong(self, batch_size):
        return {"looks": np.zeros([batch_size], np.int32)}

    def strong_step(self, encoded, rows, valid, state):
        self.threads.add(threading.current_thread())
        if valid.any():
            if self.gate is not None:
                self.gate.acquire()
            if self.fails_at is not None and len(self.looked) == self.fails_at:
                raise RuntimeError("out of memory\nwith a long trace")
            self.looked.append([level(e) for e, v in zip(encoded, valid, strict=True) if v])
        maps = [level(e) if v else -1 for e, v in zip(encoded, valid, strict=True)]
        maps = np.array(maps, np.float32)
        given = {"help_maps": maps, "help_image": maps, "help_there": valid.copy()}
        return given, {"looks": state["looks"] + valid}

    def fast_step(self, encoded, valid, given):
        own = np.array([level(e) if v else 0 for e, v in zip(encoded, valid, strict=True)])
        late = np.where(given["help_there"], given["help_maps"], 0)
        boxes = np.zeros([len(own), 1, 4], np.float32)
        boxes[:, 0, 0], boxes[:, 0, 1] = own, late
        return {
            "boxes": boxes,
            "scores": np.ones([len(own), 1], np.float32),
            "classes": np.ones([len(own), 1], np.int32),
        }


def jpeg(number):
    buffer = io.BytesIO()
    picture(number).save(buffer, "JPEG")
    return buffer.getvalue()


def drive(runner, frames, videos=(5, 6), wait=lambda t: None):
    """Pairs [step, row] of the frame seen and the frame of the help, for greys [step, row]."""
    state, seen = runner.initial_state(len(videos)), []
    for t, greys in enumerate(frames):
        valid = np.array([grey is not None for grey in greys])
        encoded = [b"" if grey is None else jpeg(grey) for grey in greys]
        nobody = np.zeros(len(videos), bool)
        found, state = runner.step(
            encoded,
            np.array(videos, np.int64),
            valid,
            state,
            ended=nobody,
            elsewhere=None,
            elsewhere_valid=None,
        )
        seen.append(
            [
                tuple(map(int, box[:2])) if score > 0 else None
                for box, score in zip(found["boxes"][:, 0], found["scores"][:, 0], strict=True)
            ]
        )
        wait(t)
    return seen


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "nothing happened in 20 seconds"
        time.sleep(0.002)


def test_in_turns_help_is_late_by_the_delay_and_runs_are_equal():
    frames = [(t + 1, t + 41) for t in range(7)]
    found = []
    for _ in range(2):
        model = FakeTwoSpeed()
        with TwoSpeedRunner(model, delay=3) as runner:
            found.append(drive(runner, frames))
        assert model.threads == {threading.current_thread()}
    assert found[0] == found[1]
    # It looks at frames 1, 4 and 7, and each look is there three frames later.
    assert [row[0] for row in found[0]] == [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1), (7, 4)]
    assert found[0][3][1] == (44, 41)


def test_with_threads_every_frame_is_answered_and_the_newest_waits():
    gate = threading.Semaphore(0)
    model = FakeTwoSpeed(gate)
    with TwoSpeedRunner(model) as runner:

        def wait(t):
            if t == 3:  # four frames have come while it had the first
                gate.release(2)
                until(lambda: len(model.looked) == 2)
                until(lambda: runner._worker.newest() and runner._worker.newest().step == 3)
            if t == 0:
                until(lambda: runner._worker._waiting is None)

        seen = drive(runner, [(t + 1, t + 41) for t in range(5)], wait=wait)
        gate.release(10)
    assert [row[0][0] for row in seen] == [1, 2, 3, 4, 5]
    assert [row[0][1] for row in seen] == [0, 0, 0, 0, 4]
    assert model.looked[:2] == [[1, 41], [4, 44]]  # 2 and 3 were replaced while they waited
    assert runner.helped == 2
    assert len(model.threads) == 2  # its own, and this one to see what no help looks like


def test_when_the_strong_one_fails_that_is_said_once():
    for delay in (None, 1):
        said, model = [], FakeTwoSpeed(fails_at=1)
        with TwoSpeedRunner(model, delay=delay, say=said.append) as runner:

            def wait(t, runner=runner, said=said, delay=delay):
                if delay is None and t < 2:
                    until(lambda: said or (runner._worker.newest() or (-1,))[0] == t)

            seen = drive(runner, [(t + 1, t + 41) for t in range(8)], wait=wait)
        assert [row[0][0] for row in seen] == list(range(1, 9))
        assert len(said) == 1
        assert said[0].startswith("the strong detector has failed, the fast one goes on alone: out")


def test_help_of_one_video_is_not_given_to_the_next():
    with TwoSpeedRunner(FakeTwoSpeed(), delay=1) as runner:
        state = runner.initial_state(ROWS)
        none = np.zeros(ROWS, bool)
        pairs = []
        for t, videos in enumerate([(5, 6), (5, 6), (7, 6), (7, 6)]):
            found, state = runner.step(
                [jpeg(t + 1), jpeg(t + 41)],
                np.array(videos),
                ~none,
                state,
                ended=none,
                elsewhere=None,
                elsewhere_valid=None,
            )
            pairs.append(found["boxes"][:, 0, 1].tolist())
            numbers = found["frame"].tolist()
    assert pairs == [[0, 0], [1, 41], [0, 42], [3, 43]]
    assert numbers == [1, 3]


def test_a_stream_that_ends_and_one_that_rests_are_no_trouble():
    frames = [(1, 41), (2, None), (None, None), (3, 43)]
    with TwoSpeedRunner(FakeTwoSpeed(), delay=1) as runner:
        seen = drive(runner, frames)
    assert seen == [[(1, 0), (41, 0)], [(2, 1), None], [None, None], [(3, 2), (43, 0)]]


def test_two_runners_at_once_do_not_mix():
    found = {}

    def run(first):
        with TwoSpeedRunner(FakeTwoSpeed()) as runner:
            found[first] = drive(runner, [(first + t, first + t) for t in range(20)])

    threads = [threading.Thread(target=run, args=(first,)) for first in (1, 41)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for first, seen in found.items():
        for t, row in enumerate(seen):
            own, late = row[0]
            assert own == first + t and (late == 0 or first <= late < own)
    assert len(found) == 2


def test_a_worker_that_is_closed_ends_at_once_and_leaves_no_thread():
    gate = threading.Semaphore(1)
    worker = StrongWorker(lambda job: {"done": gate.acquire()}, print)
    for step in range(3):
        worker.offer(_Job(step, [], np.zeros(0), np.zeros(0, bool)))
    gate.release(3)
    worker.close()
    assert not worker._thread.is_alive() and not worker.failed


def test_a_model_without_two_speeds_is_refused():
    model = FakeTwoSpeed()
    model.description["stream"].pop("two_speeds")
    with pytest.raises(ValueError, match="no fast and strong detector"):
        TwoSpeedRunner(model)
    with pytest.raises(ValueError, match="delay must be at least 1, got 0"):
        TwoSpeedRunner(FakeTwoSpeed(), delay=0)


def test_a_video_file_is_watched_as_a_stream(tmp_path):
    write_video(tmp_path / "gate.avi", first=3, count=5)
    model = FakeTwoSpeed(rows=1)
    path = str(tmp_path / "gate.avi")
    with TwoSpeedRunner(model, delay=1) as runner:
        lines = list(watch_stream(runner, path, stream_of(path), state_dir=str(tmp_path / "state")))
        with pytest.raises(ValueError, match="has a journal already"):
            list(watch_stream(runner, path, stream_of(path), state_dir=str(tmp_path / "state")))
    found = [json.loads(line) for line in lines]
    assert [one["file"] for one in found] == [f"gate.avi/{100 * t:09d}.jpg" for t in range(5)]
    assert [one["detections"][0]["box"][:2] for one in found] == [
        [3, 0], [4, 3], [5, 4], [6, 5], [7, 6]
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no video file, and no camera"):
        next(stream_of(str(tmp_path / "nothing.avi")))


class FakeMoving:
    """Says in its boxes whether it looked (1) or not (2), and of which frame it foretold."""

    has_memory, extractor_hash, class_names = False, "", {1: "fox"}
    description = {"stream": {"inputs": [], "latency": 0, "seed": 0, "propagates": True}}

    def detect(self, encoded):
        raise AssertionError("it detects in videos")

    def initial_state(self, batch_size):
        return {"frame": np.zeros([batch_size], np.int32), "row": np.full([batch_size], -1)}

    def step(self, encoded, rows, valid, state, **_):
        return self._move(1, encoded, rows, valid, state)

    def propagate(self, encoded, rows, valid, state):
        return self._move(2, encoded, rows, valid, state)

    def _move(self, kind, encoded, rows, valid, state):
        assert [bool(image) for image in encoded] == valid.tolist()
        number = np.where(rows != state["row"], 0, state["frame"])
        after = {
            "frame": np.where(valid, number + 1, state["frame"]),
            "row": np.where(valid, rows, state["row"]),
        }
        return self._found(np.where(valid, kind, 0), np.where(valid, number, -1)), after

    def anticipate(self, ahead, state):
        return self._found(state["frame"] - 1 + ahead, state["frame"] - 1 + ahead)

    def _found(self, said, frame):
        boxes = np.zeros([len(said), 1, 4], np.float32)
        boxes[:, 0, 0] = said
        return {
            "boxes": boxes,
            "scores": np.ones([len(said), 1], np.float32),
            "classes": np.ones([len(said), 1], np.int32),
            "frame": frame.astype(np.int32),
        }


def sparing(valid, videos, **options):
    model = SparingModel(FakeMoving(), **options)
    state, found = model.initial_state(2), []
    for there, rows in zip(valid, videos, strict=True):
        there = np.array(there, bool)
        images = [b"x" if one else b"" for one in there]
        outputs, state = model.step(
            images,
            np.array(rows),
            there,
            state,
            ended=~there,
            elsewhere=None,
            elsewhere_valid=None,
        )
        said = np.where(outputs["scores"][:, 0] > 0, outputs["boxes"][:, 0, 0], -1)
        found.append([said.astype(int).tolist(), outputs["frame"].tolist()])
    return found


def test_each_video_is_looked_at_by_its_own_frames():
    """The second row rests once, and then has another video."""
    valid = [(1, 1), (1, 0), (1, 1), (1, 1), (1, 1)]
    videos = [(5, 6), (5, 6), (5, 6), (5, 7), (5, 7)]
    found = sparing(valid, videos, every=2)
    assert [said[0] for said, _ in found] == [1, 2, 1, 2, 1]
    assert [said[1] for said, _ in found] == [1, 0, 2, 1, 2]
    assert [frame for _, frame in found] == [[0, 0], [1, -1], [2, 1], [3, 0], [4, 1]]


def test_a_frame_gets_what_was_foretold_of_it():
    valid = [(1, 1), (1, 0), (1, 1), (1, 1), (1, 1)]
    videos = [(5, 6), (5, 6), (5, 6), (5, 6), (5, 7)]
    found = sparing(valid, videos, ahead=2)
    assert [said[0] for said, _ in found] == [-1, -1, 2, 3, 4]
    assert [said[1] for said, _ in found] == [-1, -1, -1, 2, -1]
    assert [frame for _, frame in found] == [[0, 0], [1, -1], [2, 1], [3, 2], [4, 0]]


def test_a_model_that_cannot_move_its_memory_is_refused():
    model = FakeMoving()
    model.description = {"stream": {"inputs": [], "latency": 0, "seed": 0}}
    with pytest.raises(ValueError, match="leave out --evidence_every and --anticipate"):
        SparingModel(model, every=2)
