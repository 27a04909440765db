"""Files that appear whole, on the disk and on a storage that gives little help."""

import pathlib

import pytest

from beam_pipelines import files
from beam_pipelines.files import files_of, read_text, write_text
from beam_pipelines.running import make_pipeline_options


@pytest.fixture(params=["disk", "box"])
def place(request, tmp_path, box):
    """A folder to write to, and the folder of the disk where this turns up."""
    url, folder = box
    make_pipeline_options([])  # tells the storages, as every command does
    (tmp_path / "disk").mkdir()
    return (str(tmp_path / "disk"),) * 2 if request.param == "disk" else (f"{url}/x", folder / "x")


def test_an_interrupted_file_leaves_the_old_one(place):
    url, _ = place
    path = f"{url}/a.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), files_of(path).create(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert read_text(path) == "old"
    assert files_of(url).names(url) == ["a.txt"]


def test_writing_again_replaces(place):
    url, _ = place
    write_text(f"{url}/a.txt", "old")
    write_text(f"{url}/a.txt", "new é")
    assert read_text(f"{url}/a.txt") == "new é"
    assert files_of(url).size(f"{url}/a.txt") == 6


def test_what_is_missing_has_no_text_and_no_size_and_is_deleted_in_silence(place):
    url, _ = place
    assert read_text(f"{url}/none") is None
    assert files_of(url).size(f"{url}/none") is None
    assert files_of(url).names(f"{url}/none") == []
    files_of(url).delete(f"{url}/none")


def test_a_folder_is_deleted_with_all_in_it_and_nothing_else(place):
    url, _ = place
    for name in ("a/1", "a/b/2", "ab/3"):
        write_text(f"{url}/{name}", "x")
    files_of(url).delete(f"{url}/a")
    assert [read_text(f"{url}/{name}") for name in ("a/1", "a/b/2", "ab/3")] == [None, None, "x"]


def test_patterns_match_files_by_name(place):
    url, _ = place
    for name in ("b.x", "a.x", "a.y", "c/a.x"):
        write_text(f"{url}/{name}", name)
    assert [found.path for found in files.matches(f"{url}/*.x")] == [f"{url}/a.x", f"{url}/b.x"]
    assert [found.size_in_bytes for found in files.matches(f"{url}/a.y")] == [3]
    assert files.matches(f"{url}/*.z") == []


def test_folders_and_files_are_at_hand_while_needed(place):
    url, _ = place
    write_text(f"{url}/m/a.txt", "1")
    write_text(f"{url}/m/b/c.txt", "2")
    with files.at_hand(f"{url}/m") as folder, files.at_hand(f"{url}/m/a.txt") as file:
        assert pathlib.Path(folder, "b/c.txt").read_text() == "2"
        assert pathlib.Path(file).read_text() == "1"
