"""A fake model of images, folders of photographs, and what holds for every result."""

import importlib.util
import pathlib

import pytest

HERE = pathlib.Path(__file__).parent


def load(path):
    """A file of helpers as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def load_helpers():
    return load


@pytest.fixture(scope="session")
def fakes():
    return load(HERE / "folder/fakes.py")


@pytest.fixture(scope="session")
def check_camtrap_dp():
    """Holds a package to the standard's rules."""
    return load(HERE.parent / "results/test_camtrap_dp.py").check


@pytest.fixture(scope="session")
def check_megadetector():
    """The first error of a MegaDetector document, or None."""
    return load(HERE.parent / "results/conftest.py")._first_error


@pytest.fixture
def photos(tmp_path, fakes):
    """Two cameras, one of them with an overflow folder, ten images each."""
    root = tmp_path / "photos"
    fakes.write_photos(root)
    return root
