"""Rooms that list what lives in them list all of it, and nothing that has moved away."""

import importlib
import pathlib
import re

import pytest

import context_rcnn

LISTING = (
    *("configs", "export", "memory_bank", "report", "tasks"),
    *("runners.engine", "runners.folder", "runners.reid", "runners.videos"),
)


@pytest.mark.parametrize("room", LISTING)
def test_a_room_lists_its_files_and_no_others(room):
    package = importlib.import_module(f"context_rcnn.{room}")
    text = package.__doc__.split("    import tensorflow")[0]  # an example of code follows
    listed = re.findall(r"^    ([a-z_]+) +[a-z]", text, flags=re.M)
    files = {path.stem for path in pathlib.Path(package.__path__[0]).glob("*.py")}
    assert sorted(listed) == sorted(files - {"__init__"})


def test_the_pass_of_a_detector_is_written_once():
    """Its parts are called in `detectors` alone; others call its methods, such as `look`."""
    package = pathlib.Path(context_rcnn.__file__).parent
    calls = re.compile(r"\.(decoder|neck|neck\.before|rpn_head|box_head|box_head\.crop)\(")
    calling = {
        path.relative_to(package).parts[0]
        for path in package.rglob("*.py")
        if calls.search(path.read_text("utf-8"))
    }
    assert calling == {"detectors"}


def test_only_what_the_rooms_name_imports_tensorflow():
    """As `memory_bank` says; those who read a bank start fast."""
    folder = pathlib.Path(context_rcnn.__file__).parent / "memory_bank"
    importing = {
        path.stem
        for path in folder.glob("*.py")
        if re.search(r"^import tensorflow|^from tensorflow", path.read_text("utf-8"), flags=re.M)
    }
    importing.discard("__init__")
    assert importing == {"join", "tensor_encoding"} | {p.stem for p in folder.glob("api_*.py")}
