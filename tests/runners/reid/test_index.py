"""Tracklets are indexed, searched and shown; the model is one of plain arithmetic."""

import csv
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from context_rcnn import cli
from context_rcnn.evaluation.embeddings import Embeddings, read_embeddings, write_embeddings
from context_rcnn.report.reid_page import SheetOptions, overlay, write_sheet
from context_rcnn.runners.reid import search as searching
from context_rcnn.runners.reid.index import IndexOptions, index_tracklets

COLOURS = {"F1": (200, 20, 20), "F2": (20, 200, 20), "M3": (20, 20, 200)}


class MeanColour:
    """A model whose feature is the mean colour of a clip."""

    clip_shape = (4, 8, 6, 3)
    description = {"depth": 3}

    def __init__(self, name="colours"):
        self.hash, self.clips = name, 0

    def embed(self, clips):
        assert clips.dtype == np.uint8 and clips.shape[1:] == self.clip_shape
        self.clips += len(clips)
        return clips.mean((1, 2, 3)).astype(np.float32)


def picture(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 20), colour).save(path, quality=95)


def tracklet(root, identity, place, colour, frames=5):
    for frame in range(frames):
        shade = tuple(min(255, c + 4 * frame) for c in colour)
        picture(root / identity / place / f"{frame:03}.jpg", shade)


@pytest.fixture
def animals(tmp_path):
    """Three leopards by two cameras, and one that nobody has named: it is F2."""
    root = tmp_path / "leopards"
    for identity, colour in COLOURS.items():
        tracklet(root, identity, "north_1", colour)
        tracklet(root, identity, "ridge_1", tuple(c + 9 for c in colour), frames=2)
    tracklet(root, "unknown", "ridge_7", (30, 190, 25))
    return root


def index(root, model=None, **changes):
    model = model or MeanColour()
    options = IndexOptions(str(root), str(root) + ".index", **changes)
    return index_tracklets(options, model), read_embeddings(options.output_dir), model


def test_a_folder_is_indexed_with_its_names(animals):
    summary, found, _ = index(animals)
    assert (summary.tracklets, summary.new, summary.identities) == (7, 7, 3)
    rows = {t.name: (t.identity, t.camera) for t in found.tracklets}
    assert rows["F1/north_1"] == ("F1", "north") and rows["unknown/ridge_7"] == ("", "ridge")
    place = [t.name for t in found.tracklets].index("F1/north_1")
    # Frames 0, 1, 2 and 3 of five: the first of each quarter.
    np.testing.assert_allclose(found.features[place], np.array([200, 20, 20]) + 4 * 1.5, atol=3)


def test_all_frames_count_in_dense_clips(animals):
    tracklet(animals, "F9", "north_2", (10, 10, 10), frames=12)
    _, found, model = index(animals, sampling="dense", batch_size=2)
    place = [t.name for t in found.tracklets].index("F9/north_2")
    np.testing.assert_allclose(found.features[place], 10 + 4 * 5.5, atol=3)
    assert model.clips == 7 + 3


def test_the_same_command_embeds_only_what_is_new(animals):
    index(animals)
    tracklet(animals, "F9", "north_2", (90, 90, 90))
    picture(animals / "F1/north_1/zzz.jpg", (0, 0, 0))  # a frame more: the tracklet is new
    summary, found, model = index(animals)
    assert (summary.tracklets, summary.new, model.clips) == (8, 2, 2)
    summary, _, model = index(animals, MeanColour("other"))
    assert summary.new == 8


def test_what_cannot_be_read_is_named_and_the_rest_is_indexed(animals):
    for path in (animals / "F2/north_1").iterdir():
        path.write_bytes(b"")
    (animals / "F1/north_1/000.jpg").write_bytes(b"no image")
    (animals / "F1/empty_1").mkdir()
    (animals / "F1/misnamed").mkdir()
    summary, found, _ = index(animals)
    assert summary.tracklets == 6 and "F2/north_1" not in [t.name for t in found.tracklets]
    lines = (animals.parent / "leopards.index/failures.jsonl").read_text().splitlines()
    reasons = {(json.loads(line)["reason"], json.loads(line)["file"]) for line in lines}
    assert reasons >= {
        ("no_frames", "F2/north_1"),
        ("unreadable", "F1/north_1/000.jpg"),
        ("no_frames", "F1/empty_1"),
        ("no_camera", "F1/misnamed"),
        ("empty_file", "F2/north_1/000.jpg"),
    }


def test_a_feature_that_is_no_number_is_a_failure(animals):
    class Broken(MeanColour):
        def embed(self, clips):
            found = super().embed(clips)
            return np.where(found[:, :1] > 150, np.nan, found)

    summary, found, _ = index(animals, Broken())
    assert {t.identity for t in found.tracklets} == {"F2", "M3", ""}
    assert [str(f.reason) for f in summary.failures] == ["not_finite"] * 2


def test_the_unknown_is_found_among_the_known(animals, tmp_path, capsys):
    index(animals)
    folder, table = f"{animals}.index", tmp_path / "who.csv"
    assert cli.main(["reid", "search", folder, "--unknown", f"--csv={table}", "--top=2"]) == 0
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["identity"] for row in rows] == ["F2", "F2"]
    assert rows[0]["query"] == "unknown/ridge_7" and rows[0]["right"] == ""
    assert float(rows[0]["similarity"]) > 0.98
    assert cli.main(["reid", "search", folder, "--tracklet=F1/north_1", "--other_cameras"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "F1/ridge_1 right" in lines[2] and "north" not in " ".join(lines[2:])


def test_a_query_is_never_its_own_answer(animals):
    _, found, _ = index(animals)
    everything = list(range(len(found.tracklets)))
    answers = searching.search(found, everything, found, everything, count=3)
    for place, best in zip(everything, answers, strict=True):
        assert len(best) == 3 and place not in [answer.place for answer in best]


def test_indexes_of_different_models_are_not_compared(animals, tmp_path):
    index(animals)
    other = IndexOptions(str(animals), str(tmp_path / "other"))
    index_tracklets(other, MeanColour("other"))
    with pytest.raises(ValueError, match="different models cannot be compared"):
        one, two = (read_embeddings(f) for f in (f"{animals}.index", str(tmp_path / "other")))
        searching.search(one, [0], two, [0, 1])


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--tracklet=nobody"], "the index has no such tracklet"),
        (["--top=0"], "--top must be at least 1"),
        (["--query=nowhere"], "nowhere: holds no embeddings"),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line(animals, capsys, argv, message):
    index(animals)
    capsys.readouterr()
    assert cli.main(["reid", "search", f"{animals}.index", *argv]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "text, message",
    [
        ("[", "not JSON"),
        ('{"format": "other"}', "is not of the format"),
        ('{"format": "context-rcnn-embeddings", "tracklets": 5}', "'tracklets' must be a list"),
        (
            '{"format": "context-rcnn-embeddings", "tracklets": [{"name": 3}]}',
            r"tracklets\[0\]: field 'name' must be a text",
        ),
        (
            '{"format": "context-rcnn-embeddings", "tracklets": [], "depth": 3}',
            "has 21 numbers, expected 0 rows of 3",
        ),
    ],
)
def test_a_damaged_index_is_named(animals, text, message):
    index(animals)
    (pathlib.Path(f"{animals}.index") / "embeddings.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_embeddings(f"{animals}.index")


def test_embeddings_read_back_as_they_were_written(animals, tmp_path):
    _, found, _ = index(animals)
    parts = ["query"] * 3 + ["gallery"] * 4
    kept = Embeddings(found.features, found.tracklets, found.root, parts, "m")
    write_embeddings(str(tmp_path / "copy"), kept)
    again = read_embeddings(str(tmp_path / "copy"))
    np.testing.assert_array_equal(again.features, found.features)
    assert list(again.tracklets) == list(found.tracklets) and again.places("query") == [0, 1, 2]


def page_of(animals, tmp_path, **changes):
    _, found, _ = index(animals)
    asked = list(range(len(found.tracklets)))
    answers = searching.search(found, asked, found, asked, count=3)
    options = SheetOptions(str(tmp_path / "page"), **changes)
    active = lambda clip: clip[..., 0].astype(float)  # noqa: E731
    write_sheet(options, found, asked, found, answers, active=active, metrics={"Rank-1": 0.5})
    return (tmp_path / "page/index.html").read_text()


def test_the_page_shows_queries_with_right_and_wrong_answers(animals, tmp_path):
    text = page_of(animals, tmp_path, people=0)
    assert text.count("✓ right") >= 6 and "✗ wrong" in text and "Rank-1" in text
    files = {path.name for path in (tmp_path / "page/images").iterdir()}
    assert len(files) == 7 + 7  # strips, and what counts in each query
    for name in files:
        assert f"images/{name}" in text
    # Queries whose first answer is wrong come first; the unknown has none.
    firsts = [part.split("</small>")[0].split("<small>")[1] for part in text.split("<h3")[1:]]
    assert firsts == sorted(firsts, key=lambda words: "wrong" not in words)
    assert sum("first answer right" in words for words in firsts) >= 4


def test_names_from_data_are_escaped(animals, tmp_path):
    evil = "<script>alert(1)</script>"
    tracklet(animals, "&lt;b&gt;", "north_1", (1, 1, 1))
    _, found, _ = index(animals)
    rows = [t.__class__(evil, t.frames, evil, evil) for t in found.tracklets]
    found = Embeddings(found.features, rows, found.root, (), "m")
    options = SheetOptions(str(tmp_path / "page"), title=evil, people=0)
    answers = [[searching.Answer(1, 0.5, None)]]
    write_sheet(options, found, [0], found, answers)
    text = (tmp_path / "page/index.html").read_text()
    assert text.count("<script") == 1 and evil not in text and "&lt;script&gt;" in text


def test_the_picture_of_features_has_distances(animals, tmp_path):
    text = page_of(animals, tmp_path, people=3)
    assert (tmp_path / "page/figures/features-light.svg").exists()
    assert "within an identity 0.00" in text and "3 identities" in text


def test_a_tracklet_that_is_gone_leaves_a_note_on_the_page(animals, tmp_path):
    _, found, _ = index(animals)
    for path in (animals / "F1/north_1").iterdir():
        path.unlink()
    place = [t.name for t in found.tracklets].index("F1/north_1")
    options = SheetOptions(str(tmp_path / "page"), people=0)
    write_sheet(options, found, [place], found, [[searching.Answer(3, 0.5, False)]])
    assert "cannot be read" in (tmp_path / "page/index.html").read_text()


def test_what_counts_most_is_red_and_least_is_blue():
    clip = np.zeros((1, 4, 4, 3), np.uint8)
    active = np.array([[[0.0, 2.0], [0.0, 2.0]]])
    drawn = overlay(clip, active)[0]
    assert drawn[0, 0].tolist() == [0, 0, 114] and drawn[0, -1].tolist() == [114, 0, 0]


def test_validate_lists_what_cannot_be_used(animals, tmp_path, capsys):
    (animals / "F1/north_1/000.jpg").write_bytes(b"")
    failures = tmp_path / "failures.jsonl"
    assert cli.main(["reid", "validate", str(animals), f"--json={failures}"]) == 0
    out = capsys.readouterr().out
    assert "empty_file: 1, such as F1/north_1/000.jpg" in out and "identities by" in out
    assert json.loads(failures.read_text())["reason"] == "empty_file"


def test_evaluations_of_several_runs_are_averaged(tmp_path, capsys):
    for run, steps, value in (("a", 5, 0.4), ("b", 5, 0.6), ("b", 3, 0.1)):
        folder = tmp_path / run / f"evaluation/step-{steps}"
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps({"step": steps, "Rank-1": value}))
    assert cli.main(["reid", "average", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "Rank-1   0.500 ± 0.141   (2 runs)" in capsys.readouterr().out
    assert cli.main(["reid", "average", str(tmp_path)]) == 2
