"""Detects in a folder of videos, to be killed; `killed.py FOLDER` serves such runs, see `forked`.

The process kills itself at the given moment. Moments are calls of the model, and whatever makes a
change last: renamed files, synced ones.
"""

import importlib.util
import os
import pathlib
import sys

here = pathlib.Path(__file__)
spec = importlib.util.spec_from_file_location("fakes", here.with_name("fakes.py"))
fakes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fakes)

from context_rcnn.results.write import Outputs  # noqa: E402
from context_rcnn.runners.videos.options import VideoOptions  # noqa: E402
from context_rcnn.runners.videos.run import detect_folder_of_videos  # noqa: E402
from tests.runners.forked import Moments, serve  # noqa: E402

folder = pathlib.Path(sys.argv[1])
moments = Moments()
os.replace, os.fsync = moments.around(os.replace), moments.around(os.fsync)
fakes.FakeVideoModel.step = moments.around(fakes.FakeVideoModel.step)


def run(name: str, moment: int = 0) -> int:
    """Detects; returns how many moments there were.

    Args:
        name: name of the results.
        moment: number of the moment of death; 0 lives.
    """
    moments.last = moment
    options = VideoOptions(
        str(folder / "clips"),
        str(folder / f"{name}.state"),
        Outputs(folder / f"{name}.json", folder / f"{name}_coco.json", folder / f"{name}.csv"),
        batch_size=2,
    )
    model = fakes.FakeVideoModel(2, anywhere=True)
    detect_folder_of_videos(options, model, created="2026-05-26T19:11:27Z")
    return moments.count


serve(run)
