"""The parts that all runners share: progress, outputs, entries, and who imports whom."""

import ast
import io
import pathlib
import sys

import numpy as np
import pytest

import context_rcnn
from context_rcnn.memory_bank.curation import FrameOptions
from context_rcnn.results.write import Outputs
from context_rcnn.runners.engine import progress
from context_rcnn.runners.engine.extract import entries_of
from context_rcnn.runners.engine.outputs import files_of, refuse_strangers

PACKAGE = pathlib.Path(context_rcnn.__file__).parent
RUNNERS = ("folder", "videos", "watch", "reid", "imported", "sorting", "checkup", "session")
USES = {"folder": ("videos",), "reid": ("videos",)}
"""Runners that run another one: photographs have videos among them."""


def imported(path):
    """The modules of the package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def files_with_owner():
    root = PACKAGE / "runners"
    for path in sorted(root.rglob("*.py")):
        owner = path.relative_to(root).parts[0].removesuffix(".py")
        if owner != "__init__":
            yield path, owner
    for path in sorted((PACKAGE.parent / "beam_pipelines").glob("*.py")):
        yield path, "beam_pipelines"


def test_runners_share_the_engine_and_do_not_import_each_other():
    found = list(files_with_owner())
    assert {owner for _, owner in found} == {*RUNNERS, "engine", "beam_pipelines"}
    for path, owner in found:
        for name in imported(path):
            if name.startswith("context_rcnn.runners."):
                used = (owner, "engine", *USES.get(owner, ()))
                assert name.split(".")[2] in used, f"{path} imports {name}"


@pytest.mark.parametrize(("terminal", "least", "most"), [(True, 5, 500), (False, 1, 2)])
def test_progress_is_a_bar_on_a_terminal_and_a_line_now_and_then_elsewhere(
    monkeypatch, terminal, least, most
):
    class Screen(io.StringIO):
        def isatty(self):
            return terminal

    clock = iter(np.arange(0, 1000, 0.05).tolist())
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("tqdm.std.time", lambda: next(clock))
    with progress.bar("2/4 Remember", 40, " frames") as bar:
        for _ in range(40):
            bar.update(1)
        drawn = screen.getvalue().count("2/4 Remember")
    assert least <= drawn <= most
    assert "40/40" in screen.getvalue() and "frames" in screen.getvalue()


def test_only_files_that_a_run_has_written_are_replaced(tmp_path):
    outputs = Outputs(tmp_path / "md.json", table=tmp_path / "t.csv", camtrap_dp=tmp_path / "dp")
    files = files_of(outputs)
    assert files == [str(tmp_path / n) for n in ("md.json", "t.csv", "dp/datapackage.json")]
    refuse_strangers(outputs, [], overwrite=False)
    (tmp_path / "dp").mkdir()
    for name in ("md.json", "dp/datapackage.json"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(
        ValueError, match="datapackage.json: exists already, and is not of this run"
    ):
        refuse_strangers(outputs, files[:1], overwrite=False)
    refuse_strangers(outputs, files[:1], overwrite=True)
    refuse_strangers(outputs, files, overwrite=False)


def test_entries_are_the_best_boxes_with_the_time_and_name_of_their_image():
    outputs = {
        "scores": np.float32([0.2, 0.9, 0.5, -1]),
        "boxes": np.arange(16, dtype=np.float32).reshape(4, 4) / 16,
        "features": np.arange(12, dtype=np.float32).reshape(4, 3),
        "classes": np.int32([4, 5, 6, 0]),
    }
    entries, left_out = entries_of("im", 77, outputs, FrameOptions(top_k=2), "float16")
    assert list(entries.image_ids) == ["im", "im"] and entries.seconds.tolist() == [77, 77]
    assert entries.classes.tolist() == [5, 6] and left_out == {"not_top_k": 1}
    np.testing.assert_array_equal(entries.features, np.float16([[3, 4, 5], [6, 7, 8]]))
    assert entries.features.dtype == np.float16
    np.testing.assert_array_equal(entries.boxes, outputs["boxes"][[1, 2]])
    none, left_out = entries_of(
        "im", None, outputs, FrameOptions(score_threshold=0.95, keep_empty=False), "float16"
    )
    assert none is None and left_out == {"empty_frame": 3}
