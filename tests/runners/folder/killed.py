"""Detects in a folder, to be killed; `killed.py FOLDER` serves such runs, see `forked`.

The process kills itself at the given moment. Moments are calls of the model, and whatever makes a
change last: commits, renamed files, synced ones.
"""

import contextlib
import importlib.util
import os
import pathlib
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
from tests.runners.forked import Moments, serve  # noqa: E402

folder = pathlib.Path(sys.argv[1])
moments = Moments()


@contextlib.contextmanager
def change(self):
    with committed(self):
        yield
        moments.one()
    moments.one()


committed = ImageTable.change
ImageTable.change = change
os.replace, os.fsync = moments.around(os.replace), moments.around(os.fsync)
fakes.FakeModel._called = moments.around(fakes.FakeModel._called)
remember._PART_IMAGES, detect._COMMIT_IMAGES = 12, 12


def run(name: str, moment: int = 0, sleep: float = 0.0) -> int:
    """Detects; returns how many moments there were.

    Args:
        name: name of the results.
        moment: number of the moment of death; 0 lives.
        sleep: seconds that each call of the model takes.
    """
    moments.last = moment
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
    detect_folder(options, fakes.FakeModel(sleep=sleep), created="2026-05-26T19:11:27Z")
    return moments.count


serve(run)
