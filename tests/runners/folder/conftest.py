"""A fake model, and folders of photographs."""

import importlib.util
import pathlib

import pytest

from context_rcnn.results.write import Outputs
from context_rcnn.runners.folder.options import FolderOptions
from context_rcnn.runners.folder.run import detect_folder

CREATED = "2026-05-26T19:11:27Z"


HERE = pathlib.Path(__file__).parent


def _load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fakes():
    return _load(HERE / "fakes.py")


@pytest.fixture(scope="session")
def check_camtrap_dp():
    """Holds a package to the standard's rules."""
    return _load(HERE.parent / "results/test_camtrap_dp.py").check


@pytest.fixture(scope="session")
def check_megadetector():
    """The first error of a MegaDetector document, or None."""
    return _load(HERE.parent / "results/conftest.py")._first_error


@pytest.fixture
def photos(tmp_path, fakes):
    """Two cameras, one of them with an overflow folder, ten images each."""
    root = tmp_path / "photos"
    fakes.write_photos(root)
    return root


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
