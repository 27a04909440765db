"""Detects in a folder of videos, to be killed: FOLDER NAME [MOMENT].

At the given moment the process kills itself; moments are calls of the model, and whatever makes a
change last: renamed files, synced ones. Prints how many moments there were.
"""

import importlib.util
import os
import pathlib
import signal
import sys

here = pathlib.Path(__file__)
spec = importlib.util.spec_from_file_location("fakes", here.with_name("fakes.py"))
fakes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fakes)

from context_rcnn.results.write import Outputs  # noqa: E402
from context_rcnn.runners.videos.options import VideoOptions  # noqa: E402
from context_rcnn.runners.videos.run import detect_folder_of_videos  # noqa: E402

folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
last = int(sys.argv[3]) if len(sys.argv) > 3 else 0
moments = 0


def moment():
    global moments
    moments += 1
    if moments == last:
        os.kill(os.getpid(), signal.SIGKILL)


def around(function):
    def wrapped(*args, **kwargs):
        moment()
        result = function(*args, **kwargs)
        moment()
        return result

    return wrapped


os.replace, os.fsync = around(os.replace), around(os.fsync)
fakes.FakeVideoModel.step = around(fakes.FakeVideoModel.step)
options = VideoOptions(
    str(folder / "clips"),
    str(folder / f"{name}.state"),
    Outputs(folder / f"{name}.json", folder / f"{name}_coco.json", folder / f"{name}.csv"),
    batch_size=2,
)
model = fakes.FakeVideoModel(2, anywhere=True)
detect_folder_of_videos(options, model, created="2026-05-26T19:11:27Z")
print(moments)
