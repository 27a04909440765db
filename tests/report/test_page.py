"""The page as a whole: what stands in it, what never does, and where it may be written."""

import json
import os
import pathlib
import re

import pytest

from context_rcnn import cli
from context_rcnn.data.walk import OWN_FOLDER
from context_rcnn.report import figures
from context_rcnn.report import page as pages
from context_rcnn.report.page import ReportOptions, write_report
from tests.report.conftest import (
    BASELINE,
    IMAGES,
    A,
    Page,
    check_script,
    write_explanations,
    write_photos,
    write_run,
)

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "../../etc/passwd",
    "/etc/passwd",
    "\"quoted' & <script>alert(2)</script>",
    "two\nlines\u202e",
    "x" * 5000,
    "{{ 7*7 }}{% raw %}",
    "half \ud800 a character",
]


@pytest.fixture
def drawn():
    """Charts are drawn."""


@pytest.fixture(autouse=True)
def charts(request, monkeypatch):
    """Drawing takes nine tenths of a report's time; most tests are of the page around it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(figures, "save", lambda figure, path: pathlib.Path(path).touch())


def report(tmp_path, runs, **options):
    memory, baseline = runs
    given = {"evaluation": memory, "baseline": baseline, "output_dir": str(tmp_path / "out")}
    index = pathlib.Path(write_report(ReportOptions(**given | options)))
    return Page(index.read_text()), index.parent


def check_page(page, folder):
    """What holds for every page: nothing from outside, links that lead somewhere, headings."""
    written = (folder / "index.html").read_text()
    assert not re.search(r"https?:|//[a-z]", written.replace("</", ""))
    check_script(page, written)
    assert not page.all("iframe", "object")
    assert page.all("link") == [{"rel": "icon", "href": "data:,"}]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    files = [attrs["src"] for attrs in page.all("img")]
    files += [attrs["srcset"] for attrs in page.all("source")]
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for link in (attrs["href"] for attrs in page.all("a")):
        inside = link.startswith("#") and link[1:] in ids
        assert inside or link == "cases.json" or link.startswith("images/")
    assert all(re.fullmatch(r"(images/\d{4}\.jpg|figures/[a-z-]+\.svg)", name) for name in files)
    assert all((folder / name).is_file() for name in [*files, "cases.json"])
    assert all(attrs.get("alt") for attrs in page.all("img"))
    assert all(attrs.get("aria-label") for _, attrs in page.tags if attrs.get("role"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    assert ("html", {"lang": "en"}) in page.tags


def words(page):
    return " ".join(page.text.split())


def test_the_page_tells_the_hand_worked_comparison(tmp_path, runs, drawn):
    explained = write_explanations(
        tmp_path / "e.jsonl", [("a", "cat", 0.7, [("b", -86400, 0.6), ("c", 3600, 0.3)])]
    )
    photos = write_photos(tmp_path / "photos", IMAGES)
    page, folder = report(tmp_path, runs, explanations=explained, image_root=photos)
    check_page(page, folder)
    text = words(page)
    assert (
        "Measured on 5 images of 1 camera, 2 of them empty; 4 labelled objects of 2 classes."
        in text
    )
    assert "0.800 for the single frame, 0.600 with memory" in text
    for count, name in (
        (2, "false positives removed in 2 images"),
        (1, "new false positives in 1 image"),
        (1, "objects found in 1 image"),
        (1, "objects lost in 1 image"),
    ):
        assert f"{count} {name}" in text
    assert "Both find the same 1 object, and neither finds 1." in text
    assert "1,000.0 single frame 1,500.0 \N{MINUS SIGN}500.0 · better" in text
    assert "0.750 single frame 0.500 +0.250 · better" in text
    assert "weight 0.600 1 day before b" in text and "90% of the attention" in text
    alts = [attrs["alt"] for attrs in page.all("img")]
    assert "Empty image e1, where the single frame reports dog 0.85." in alts
    assert "Image c, labelled dog: with memory finds dog 0.60." in alts
    # AP of dogs: with memory one of two is found, after a false one: .5 at 51 of 101 recalls.
    assert "dog 2 0.000 0.252 +0.252" in text
    cases = json.loads((folder / "cases.json").read_text())
    assert cases["score_from"] == {"baseline": 0.8, "memory": 0.6}
    assert cases["removed"][:1] == [
        {"image_id": "e1", "boxes": [{"box": [0.6, 0.1, 0.8, 0.3], "class": "dog", "score": 0.85}]}
    ]
    assert cases["found"][0]["label"] == {"box": [0.1, 0.6, 0.3, 0.8], "class": "dog"}


def hostile_inputs(tmp_path):
    """Runs, explanations and photographs whose every name is an attack."""
    names = (HOSTILE[0], HOSTILE[3])
    images = {name: [] if i % 2 else [(names[0], *A)] for i, name in enumerate(HOSTILE)}
    found = {name: [(names[1], 0.5, *A)] for name in HOSTILE}
    extra = {"per_camera": {name: {"images": 1} for name in HOSTILE}}
    memory = write_run(tmp_path / "m", images, found, names=names, **extra)
    weaker = {name: found[name] for name in HOSTILE[:5]}
    baseline = write_run(tmp_path / "b", images, weaker, names=names, **extra)
    explained = write_explanations(
        tmp_path / "e.jsonl", [(n, names[0], 0.5, [(HOSTILE[1], 5, 0.5)]) for n in HOSTILE]
    )
    photos = write_photos(tmp_path / "photos", ["ok"])
    return {
        "evaluation": str(memory),
        "baseline": str(baseline),
        "explanations": explained,
        "image_root": photos,
        "title": HOSTILE[0],
    }


def test_hostile_names_stay_text_and_inside_of_the_folder(drawn, tmp_path):
    inputs = hostile_inputs(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    page, folder = report(tmp_path, ("", ""), **inputs)
    check_page(page, folder)
    new = [path for path in tmp_path.rglob("*") if path not in before and path != folder]
    assert all(folder in path.parents for path in new)
    assert HOSTILE[0] in page.text and "does not stay inside the image root" in page.text
    assert "{{ 7*7 }}" in page.text and "root:" not in page.text
    assert "x" * 200 not in page.text and "\u202e" not in page.text
    assert all(len(attrs["alt"]) < 1000 for attrs in page.all("img"))


def test_images_of_hostile_ids_get_names_of_our_own(tmp_path):
    name = "<b>&'.png"
    photos = write_photos(tmp_path / "photos", [name[:-4]])
    memory = write_run(tmp_path / "m", {name: [("cat", *A)]}, {name: [("cat", 0.9, *A)]})
    page, folder = report(tmp_path, (str(memory), ""), image_root=photos)
    check_page(page, folder)
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert names == ["0001-full.jpg", "0001.jpg"]
    assert name in page.text


def test_without_baseline_explanations_and_pixels_the_page_says_so(tmp_path, runs):
    page, folder = report(tmp_path, (runs[0], ""))
    check_page(page, folder)
    text = words(page)
    for part in (
        "No single-frame run was given (--baseline)",
        "No explanations were given (--explanations)",
        "Neither --examples nor --image_root was given",
        "The run with memory has no detection at all for 0 images of 5.",
    ):
        assert part in text
    assert "gain" not in text.split("Notes")[1].split("Cameras")[1][:200]


def test_different_images_of_the_runs_are_said_and_not_compared(tmp_path, runs):
    fewer = {name: IMAGES[name] for name in ("a", "c", "e1")}
    baseline = write_run(tmp_path / "fewer", fewer, {k: BASELINE[k] for k in fewer})
    page, folder = report(tmp_path, (runs[0], str(baseline)))
    check_page(page, folder)
    text = words(page)
    assert "3 are common" in text and "2 images only in the run with memory: b, e2." in text
    # Of the common images, whatever metrics.json says: the baseline's best cat is on an empty one.
    assert "cat 1 0.500 1.000 +0.500" in text
    assert "The two runs were not measured on the same images" in text
    assert "single frame: score from" not in text


def test_nothing_in_common_is_an_error(tmp_path, runs):
    other = write_run(tmp_path / "other", {"z": []}, {})
    with pytest.raises(ValueError, match="no image in common .*file_name"):
        report(tmp_path, (runs[0], str(other)))


@pytest.mark.parametrize(
    ("images", "found"),
    [
        ({"e1": [], "e2": []}, {"e1": [("cat", 0.5, *A)]}),
        ({"a": [("cat", *A)]}, {}),
        ({"e": []}, {}),
    ],
    ids=["no objects", "no detections", "nothing"],
)
def test_evaluations_with_little_in_them_have_a_page(drawn, tmp_path, images, found):
    bare = {"per_class": {}, "per_camera": {}, "false_positives_per_1000_empty_images": {}}
    bare |= {"mAP@.5": None, "AR@1": None}
    memory = write_run(tmp_path / "m", images, found, **bare)
    baseline = write_run(tmp_path / "b", images, found, **bare)
    page, folder = report(tmp_path, (str(memory), str(baseline)))
    check_page(page, folder)
    assert "cannot be compared at equal recall" in page.text


def test_undated_keyframes_and_memories_are_said(tmp_path, runs):
    explained = write_explanations(tmp_path / "e.jsonl", [("a", "cat", 0.7, [("b", None, 0.6)])])
    page, folder = report(tmp_path, runs, explanations=explained)
    check_page(page, folder)
    text = words(page)
    assert "None of the 1 attended memories has a known time" in text
    assert "1 attended memory has no known distance in time and is not counted here" in text


def test_damaged_pixels_are_a_note_and_not_a_crash(tmp_path, runs):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"\xff\xd8 no image")
    page, folder = report(tmp_path, runs, image_root=str(photos))
    check_page(page, folder)
    assert "a: cannot be decoded" in words(page)


def test_limits_and_seed_decide_what_is_shown(tmp_path):
    images = {f"i{k}": [("cat", 5 * k, 0, 4, 4)] for k in range(20)}
    found = {name: [("cat", 0.9, *box[0][1:])] for name, box in images.items()}
    memory = str(write_run(tmp_path / "m", images, found))
    photos = write_photos(tmp_path / "photos", images)
    texts = {}
    for seed in (1, 1, 2):
        page, folder = report(tmp_path, (memory, ""), image_root=photos, seed=seed, max_examples=3)
        assert len(list((folder / "images").glob("*-full.jpg"))) == 3
        assert texts.setdefault(seed, page.text) == page.text
    assert "At most 3 images of each kind" in texts[1]


def test_only_a_report_is_replaced(tmp_path, runs):
    page, folder = report(tmp_path, runs)
    (folder / "images" / "stale.jpg").write_text("")
    report(tmp_path, runs)
    assert not (folder / "images" / "stale.jpg").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "index.html").write_text("my own page")
    with pytest.raises(ValueError, match="--output_dir=.*holds other things"):
        report(tmp_path, runs, output_dir=str(mine))
    assert (mine / "index.html").read_text() == "my own page"


def test_a_failure_leaves_the_earlier_report_and_nothing_else(tmp_path, runs, monkeypatch):
    _, folder = report(tmp_path, runs)
    before = (folder / "index.html").read_bytes()
    monkeypatch.setattr("context_rcnn.report.page._notes", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report(tmp_path, runs)
    assert (folder / "index.html").read_bytes() == before
    assert not list(tmp_path.glob(".report-*"))


def test_a_process_that_ends_while_a_report_is_replaced_loses_none(tmp_path, runs, monkeypatch):
    """It ends between the going of the earlier one and the coming of the new one."""
    _, folder = report(tmp_path, runs)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    rename, done = os.rename, []

    def fails(source, target):
        if done:
            raise PermissionError("in use")
        done.append(source)
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", fails)
        patched.setattr("context_rcnn.report.page._recover", lambda *places: None)
        with pytest.raises(PermissionError):
            report(tmp_path, runs, title="new")
    assert not folder.exists(), "it was put aside, and the new one did not come"
    with monkeypatch.context() as patched:
        patched.setattr("context_rcnn.report.page._notes", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            report(tmp_path, runs, title="new")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    report(tmp_path, runs, title="new")
    assert "<title>new" in (folder / "index.html").read_text()
    assert not list(tmp_path.glob(".report-*"))


def test_a_failing_change_puts_the_earlier_report_back_at_once(tmp_path, runs, monkeypatch):
    _, folder = report(tmp_path, runs)
    before = (folder / "index.html").read_bytes()
    rename = os.rename

    def fails(source, target):
        if ".report-new-" in str(source):
            raise PermissionError("in use")
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", fails)
        with pytest.raises(PermissionError):
            report(tmp_path, runs, title="new")
    assert (folder / "index.html").read_bytes() == before
    assert not list(tmp_path.glob(".report-*"))


def test_leftovers_of_a_killed_run_are_removed_and_folders_of_others_are_not(tmp_path, runs):
    left, mine = tmp_path / ".report-new-out", tmp_path / ".report-old-other"
    for place in (left, mine):
        place.mkdir()
        (place / "index.html").write_text("half a page")
    (left / OWN_FOLDER).touch()
    _, folder = report(tmp_path, runs)
    assert "half a page" not in (folder / "index.html").read_text()
    assert not left.exists() and (mine / "index.html").exists()


def test_a_run_is_named_by_the_end_of_its_path_on_every_system():
    windows = pathlib.PureWindowsPath(r"D:\work\runs\first\evaluation\step-5")
    assert pages.end_of(windows) == r"first\evaluation\step-5"
    assert pages.end_of(pathlib.PurePosixPath("runs/first/evaluation/step-5/")) == (
        "first/evaluation/step-5"
    )
    assert pages.end_of(pathlib.PurePosixPath("first")) == "first"


def test_the_verb_says_where_to_look_and_what_is_wrong(tmp_path, runs, capsys):
    memory, baseline = runs
    output = f"--output_dir={tmp_path / 'out'}"
    assert cli.main(["report", f"--evaluation={memory}", f"--baseline={baseline}", output]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Look at {tmp_path / 'out' / 'index.html'}"
    assert cli.main(["report", "--evaluation=nowhere", output]) == 2
    assert "--evaluation=nowhere" in capsys.readouterr().err
    for flag in ("--recall=0", "--max_examples=-1", "--image_root=nowhere"):
        assert cli.main(["report", f"--evaluation={memory}", output, flag]) == 2
        assert flag.split("=")[0] in capsys.readouterr().err


def test_equal_inputs_give_equal_bytes(tmp_path, runs, drawn):
    def content():
        _, folder = report(tmp_path, runs)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files}

    assert content() == content()


def test_images_that_are_not_there_are_warned_of(tmp_path, runs, capsys):
    (tmp_path / "wrong").mkdir()
    report(tmp_path, runs, image_root=str(tmp_path / "wrong"))
    wrong = f"WARNING: none of the images is in --image_root={tmp_path / 'wrong'}, such as "
    assert wrong in capsys.readouterr().out
    report(tmp_path, runs, image_root=write_photos(tmp_path / "photos", "a"))
    assert "images are not in --image_root" in capsys.readouterr().out
    report(tmp_path, runs)
    assert not capsys.readouterr().out
