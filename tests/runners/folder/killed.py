"""Detects in a folder, to be killed: FOLDER NAME SLEEP [MOMENT].

Each call of the model takes SLEEP seconds. At the given moment the process kills itself; moments
are calls of the model, and whatever makes a change last: commits, renamed files, synced ones.
Prints how many moments there were.
"""

import contextlib
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
from context_rcnn.runners.folder import detect, remember  # noqa: E402
from context_rcnn.runners.folder.options import FolderOptions  # noqa: E402
from context_rcnn.runners.folder.run import detect_folder  # noqa: E402
from context_rcnn.runners.folder.table import ImageTable  # noqa: E402

folder, name, sleep = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
last = int(sys.argv[4]) if len(sys.argv) > 4 else 0
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


@contextlib.contextmanager
def change(self):
    with committed(self):
        yield
        moment()
    moment()


committed = ImageTable.change
ImageTable.change = change
os.replace, os.fsync = around(os.replace), around(os.fsync)
fakes.FakeModel._called = around(fakes.FakeModel._called)
remember._PART_IMAGES, detect._COMMIT_IMAGES = 12, 12
options = FolderOptions(
    str(folder / "photos"),
    str(folder / f"{name}.state"),
    Outputs(
        megadetector=folder / f"{name}.json",
        coco=folder / f"{name}.coco.json",
        table=folder / f"{name}.csv",
    ),
    workers=2,
    explain=5,
    rde="auto",
    repeats_table=str(folder / f"{name}.repeats.csv"),
)
print("begins", flush=True)
detect_folder(options, fakes.FakeModel(sleep=sleep), created="2026-05-26T19:11:27Z")
print(moments)
