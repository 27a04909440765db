"""How states begin: whose folder it is, what a restart forgets, and what killed runs leave."""

import pytest

from context_rcnn.data.walk import OWN_FOLDER
from context_rcnn.runners.engine.state import begin_state

KINDS = {"images.sqlite": "a run with images", "run.json": "a run with videos"}


def begin(folder, signature="run.json", **options):
    return begin_state(folder, KINDS[signature], signature, **options)


def content(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_state_begins_in_a_new_or_an_empty_folder_and_is_found_again(tmp_path):
    for name in ("deep/new", "empty"):
        folder = tmp_path / name
        if name == "empty":
            folder.mkdir()
        assert begin(folder) == folder and content(folder) == {OWN_FOLDER}
        (folder / "run.json").write_text("settings")
        (folder / "videos").mkdir()
        begin(folder)
        assert content(folder) == {OWN_FOLDER, "run.json", "videos"}


def make_stranger(folder, kind):
    if kind == "file":
        folder.write_text("mine")
        return
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    if kind == "pictures to review":
        (folder / OWN_FOLDER).touch()
    if kind == "other kind of run":
        (folder / OWN_FOLDER).touch()
        (folder / "images.sqlite").write_text("table")
    if kind == "a name of ours in it":
        (folder / "run.json").write_text("mine")


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "kind",
    ["file", "folder", "pictures to review", "other kind of run", "a name of ours in it"],
)
def test_what_no_run_of_this_kind_began_is_refused_and_stays(tmp_path, kind, restart):
    folder = tmp_path / "state"
    make_stranger(folder, kind)
    before = content(folder)
    with pytest.raises(ValueError, match="exists and is not the state of a run with videos"):
        begin(folder, restart=restart)
    assert content(folder) == before


def test_a_restart_forgets_everything_and_can_be_killed_at_any_file(tmp_path, monkeypatch):
    import pathlib

    folder = tmp_path / "state"
    for left in range(5):
        begin(folder)
        (folder / "aside/video").mkdir(parents=True)
        for name in ("run.json", "journal.jsonl", "z.txt"):
            (folder / name).write_text("old")
        unlink, removed = pathlib.Path.unlink, []

        def killed(path, *args, left=left, unlink=unlink, removed=removed):
            if len(removed) == left:
                raise InterruptedError
            removed.append(path)
            unlink(path, *args)

        with monkeypatch.context() as patched:
            patched.setattr(pathlib.Path, "unlink", killed)
            if left < 3:
                with pytest.raises(InterruptedError):
                    begin(folder, restart=True)
            else:
                begin(folder, restart=True)
        begin(folder, restart=True)
        assert content(folder) == {OWN_FOLDER}


def test_a_state_that_was_killed_in_its_first_moments_goes_on(tmp_path):
    begin(tmp_path / "videos")
    (tmp_path / "videos/run.json.partial").write_text("{")
    begin(tmp_path / "videos")
    begin(tmp_path / "images", "images.sqlite")
    (tmp_path / "images/images.sqlite-journal").touch()
    begin(tmp_path / "images", "images.sqlite")


def test_a_linked_folder_in_a_state_is_not_emptied(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    folder = begin(tmp_path / "state")
    (folder / "run.json").touch()
    (folder / "videos").symlink_to(tmp_path / "mine")
    begin(folder, restart=True)
    assert content(folder) == {OWN_FOLDER} and (tmp_path / "mine/thesis.txt").exists()
