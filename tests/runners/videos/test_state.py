"""Runs over videos that go on: after a kill, with other videos, with a disk that is not there."""

import contextlib
import pathlib
import random
import shutil
import signal

import pytest

from tests.runners.forked import Forks

HERE = pathlib.Path(__file__).parent
MODES = {"delayed": (2, False), "anywhere": (3, True), "at once": (0, False)}


class Stop(Exception):
    pass


@pytest.mark.parametrize("mode", MODES)
def test_stopped_anywhere_and_begun_again_it_writes_the_same(clips, detect, fakes, tmp_path, mode):
    model, *_ = detect(clips, fakes.FakeVideoModel(*MODES[mode], rows=2), "whole")
    calls = model.calls

    class Stopping(fakes.FakeVideoModel):
        left = 0

        def step(self, *args, **kwargs):
            self.left -= 1
            if self.left < 0:
                raise Stop
            return super().step(*args, **kwargs)

    stops = 0
    for left in (0, 1, 4, 6, 7, 9, calls):
        stopped = Stopping(*MODES[mode], rows=2)
        stopped.left = left
        with contextlib.suppress(Stop):
            detect(clips, stopped, "parts")
            break
        stops += 1
        (tmp_path / "parts.state/aside/left").mkdir(parents=True)  # as a kill would leave it
        (tmp_path / "parts.state/videos").mkdir(exist_ok=True)
        (tmp_path / "parts.state/videos/left.jsonl.partial").touch()
    assert stops > 3
    detect(clips, fakes.FakeVideoModel(*MODES[mode], rows=2), "parts")
    for end in (".json", ".csv", "_coco.json", "_coco.images.json", ".state/journal.jsonl"):
        written = [(tmp_path / f"{name}{end}").read_bytes() for name in ("whole", "parts")]
        assert written[0] == written[1], end
    left = [
        sorted(p.name for p in (tmp_path / f"{n}.state").rglob("*")) for n in ("whole", "parts")
    ]
    assert left[0] == left[1]


@pytest.fixture
def forks(clips, tmp_path):
    """Runs over the videos, in processes that can be killed."""
    with Forks(HERE / "killed.py", tmp_path) as forks:
        yield forks


def results(folder, name):
    """Results by kind."""
    ends = (".json", ".csv", "_coco.json", "_coco.images.json")
    return {end: (folder / f"{name}{end}").read_bytes() for end in ends}


@pytest.mark.whole
def test_killed_runs_end_as_an_uninterrupted_one(forks, tmp_path):
    code, moments = forks.run("whole")
    assert code == 0 and moments > 60
    rng = random.Random(0)
    codes = [
        forks.run("killed", rng.randint(10, round(share * moments)))[0] for share in (0.4, 0.9)
    ]
    assert codes[0] == -signal.SIGKILL and set(codes) <= {0, -signal.SIGKILL}
    assert forks.run("killed")[0] == 0
    assert results(tmp_path, "killed") == results(tmp_path, "whole")
    left = [
        sorted(p.name for p in (tmp_path / f"{n}.state").iterdir()) for n in ("whole", "killed")
    ]
    assert left[0] == left[1]


@pytest.mark.slow
def test_a_kill_at_every_moment_is_recovered_from(forks, tmp_path):
    _, moments = forks.run("whole")
    expected = results(tmp_path, "whole")
    for moment in range(1, moments + 1):
        name = f"killed-{moment}"
        assert forks.run(name, moment)[0] == -signal.SIGKILL
        assert forks.run(name)[0] == 0
        assert results(tmp_path, name) == expected, moment


def test_videos_that_are_through_are_not_opened_again(clips, detect, fakes, tmp_path):
    detect(clips)
    before = (tmp_path / "results.json").read_bytes()
    model, _, said = detect(clips)
    assert not model.calls and "5 videos were done before" in said
    assert (tmp_path / "results.json").read_bytes() == before
    fakes.write_video(clips / "new.avi", first=50, count=3)
    shutil.rmtree(clips / "val/ILSVRC2015_val_00000001")
    fakes.write_gif(clips / "c.gif", first=30, count=2)
    model, summary, _ = detect(clips)
    assert sorted(number for _, number in model.seen)[-5:] == [30, 31, 50, 51, 52]
    assert len(model.seen) == 5 + 0 and summary.images == 26 - 1 - 6 + 2 + 3


def test_nothing_is_lost_while_a_disk_is_not_there(clips, detect, tmp_path):
    detect(clips)
    before = {
        path.name: path.read_bytes() for path in tmp_path.glob("results*.*") if path.is_file()
    }
    (clips / "gate").rename(tmp_path / "unplugged")
    (clips / "val/ILSVRC2015_val_00000001").rename(tmp_path / "unplugged too")
    model, summary, said = detect(clips)
    assert summary.images == 26 - 9 - 3 - 1 and not model.calls
    assert "3 videos of earlier runs are no longer there" in said
    assert "gate" not in (tmp_path / "results.json").read_text()
    (tmp_path / "unplugged").rename(clips / "gate")
    (tmp_path / "unplugged too").rename(clips / "val/ILSVRC2015_val_00000001")
    model, summary, said = detect(clips)
    assert not model.calls and "no longer there" not in said and summary.images == 26
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_a_video_that_has_changed_leaves_nothing_of_before(clips, detect, fakes, tmp_path):
    (clips / "words.mp4").write_bytes(b"these are no frames " * 50)
    detect(clips)
    journals = tmp_path / "results.state/videos"
    first = set(journals.iterdir())
    fakes.write_gif(clips / "c.gif", first=30, count=2)
    fakes.write_frames(clips / "val/ILSVRC2015_val_00000001", first=60, count=2)
    (clips / "words.mp4").write_bytes(b"nor are these " * 50)
    _, _, said = detect(clips)
    assert "no longer there" not in said
    assert len(list(journals.iterdir())) == 6 and len(first & set(journals.iterdir())) == 3


def test_another_model_or_other_settings_are_refused(clips, detect, fakes):
    detect(clips)
    with pytest.raises(ValueError, match="begun with other settings: model is 'fake', not 'new'"):
        detect(clips, fakes.FakeVideoModel(name="new"))
    with pytest.raises(ValueError, match="settings is.*--restart to start from the beginning"):
        detect(clips, fps=1)
    model, *_ = detect(clips, fps=5, restart=True)
    assert len(model.seen) == 5 + 2 + 6 + 8
    assert not detect(clips, fps=5)[0].calls


def test_files_and_folders_of_others_are_not_replaced(clips, detect, fakes, tmp_path):
    (tmp_path / "results.csv").write_text("mine")
    with pytest.raises(ValueError, match="results.csv: exists already, and is not of this run"):
        detect(clips)
    detect(clips, overwrite=True)
    assert "fox" in (tmp_path / "results.csv").read_text()
    (tmp_path / "other.state").mkdir()
    (tmp_path / "other.state/thesis.txt").write_text("mine")
    for restart in (False, True):
        with pytest.raises(ValueError, match="is not the state of a run with videos"):
            detect(clips, name="other", restart=restart)
    assert (tmp_path / "other.state/thesis.txt").read_text() == "mine"
