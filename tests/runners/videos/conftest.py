"""A fake model of videos, and folders of videos."""

import pathlib

import pytest

from context_rcnn.results.write import Outputs
from context_rcnn.runners.videos.options import VideoOptions
from context_rcnn.runners.videos.run import detect_folder_of_videos

CREATED = "2026-05-26T19:11:27Z"
HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="session")
def fakes(load_helpers):
    return load_helpers(HERE / "fakes.py")


@pytest.fixture
def clips(tmp_path, fakes):
    """Five videos of different lengths: files in two containers, a GIF, folders of frames."""
    root = tmp_path / "clips"
    fakes.write_video(root / "gate/a.avi", first=1, count=9)
    fakes.write_video(root / "gate/B.MKV", first=11, count=3)
    fakes.write_gif(root / "c.gif", first=21, count=6)
    fakes.write_frames(root / "val/ILSVRC2015_val_00000000", first=31, count=7)
    fakes.write_frames(root / "val/ILSVRC2015_val_00000001", first=41, count=1)
    return root


@pytest.fixture
def detect(tmp_path, fakes):
    """Detects in a folder of videos; returns the model, the summary and what was said.

    Results go to NAME.json, NAME.csv and NAME_coco.json, the state to NAME.state.
    """

    def run(root, model=None, name="results", **changes):
        model = model or fakes.FakeVideoModel()
        outputs = Outputs(
            tmp_path / f"{name}.json", tmp_path / f"{name}_coco.json", tmp_path / f"{name}.csv"
        )
        said = []
        options = VideoOptions(
            str(root),
            str(tmp_path / f"{name}.state"),
            outputs,
            **{"batch_size": model.rows} | changes,
        )
        summary = detect_folder_of_videos(options, model, say=said.append, created=CREATED)
        return model, summary, "\n".join(said)

    return run
