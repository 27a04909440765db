"""Detecting in a folder of photographs with a fake model."""

import pytest

from context_rcnn.results.write import Outputs
from context_rcnn.runners.folder.options import FolderOptions
from context_rcnn.runners.folder.run import detect_folder

CREATED = "2026-05-26T19:11:27Z"


@pytest.fixture
def detect(tmp_path, fakes):
    """Detects in a folder; returns the model, the summary and what was said.

    Results go to NAME.json, the state to NAME.state.
    """

    def run(root, model=None, name="results", outputs=None, **changes):
        model = model or fakes.FakeModel()
        outputs = {"megadetector": tmp_path / f"{name}.json"} | (outputs or {})
        said = []
        options = FolderOptions(
            str(root),
            str(tmp_path / f"{name}.state"),
            Outputs(**outputs),
            **{"workers": 2} | changes,
        )
        summary = detect_folder(options, model, say=said.append, created=CREATED)
        return model, summary, "\n".join(said)

    return run
