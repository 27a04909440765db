"""The folder runner: what it writes, does once, does again, and refuses."""

import json
import os

import numpy as np
import pytest

from context_rcnn.memory_bank.store import Bank
from context_rcnn.runners.folder.table import ImageTable
from tests.cli import hostile_folder


def read(path):
    return json.loads(path.read_text())


def by_file(path):
    return {image["file"]: image for image in read(path)["images"]}


def test_a_folder_becomes_a_file_that_timelapse_reads(photos, detect, tmp_path):
    _, summary, said = detect(photos)
    images = by_file(tmp_path / "results.json")
    assert sorted(images) == sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.JPG"))
    assert summary.images == len(images) == 20 and not summary.failed
    assert all(len(image["detections"]) == 2 for image in images.values())
    assert read(tmp_path / "results.json")["info"]["detector"] == "fake 0.1"
    assert "north" in said and "south " in said and "RECNX" not in said
    assert "2013-10-04 13:31:53  2013-10-04 18:01:53" in said
    assert "20 images of 2 cameras" in said
    assert "failures.jsonl" not in said
    assert (tmp_path / "results.state/failures.jsonl").read_text() == ""


def test_the_same_command_again_does_nothing_again_and_writes_the_same(photos, detect, tmp_path):
    first, *_ = detect(photos)
    written = (tmp_path / "results.json").read_bytes()
    second, *_ = detect(photos)
    assert first.extracted and first.detected
    # All that runs is the check whether the model can run at all.
    assert len(second.extracted) == len(second.detected) == 1 and not second.projections
    assert (tmp_path / "results.json").read_bytes() == written


def test_new_images_change_their_camera_alone_and_nothing_is_extracted_twice(
    photos, detect, fakes, tmp_path
):
    first, *_ = detect(photos)
    before = by_file(tmp_path / "results.json")
    fakes.write_photos(photos, ["north"], count=3, first=10)
    second, *_ = detect(photos)
    after = by_file(tmp_path / "results.json")
    again = set(first.extracted) & set(second.extracted)
    assert len(again) == 1, "the check of the model is all that is the same"
    assert len(set(second.extracted)) == 4 and len(set(second.detected)) == 1 + 13
    changed = {name for name in before if before[name] != after[name]}
    assert changed and all(name.startswith("north/") for name in changed)
    detect(photos, name="fresh")
    assert (tmp_path / "results.json").read_bytes() == (tmp_path / "fresh.json").read_bytes()
    assert contents(tmp_path / "results.state/bank") == contents(tmp_path / "fresh.state/bank")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("memory", [True, False])
def test_whatever_happens_to_the_folder_the_results_are_those_of_a_fresh_run(
    photos, detect, fakes, tmp_path, memory
):
    """Images removed, replaced by others or by nothing readable, moved to another camera, dated
    anew, touched, and added in between."""
    north = photos / "north"

    def replace(path, **changes):
        path.write_bytes(fakes.photograph(**changes))

    steps = [
        lambda: (north / "IMG_00003.JPG").unlink(),
        lambda: replace(north / "IMG_00004.JPG", colour=(1, 2, 3), date=fakes.START),
        lambda: (north / "IMG_00005.JPG").rename(photos / "south/IMG_X.JPG"),
        lambda: replace(north / "IMG_00006.JPG", date=None),
        lambda: (north / "IMG_00007.JPG").write_bytes(b""),
        lambda: os.utime(north / "IMG_00008.JPG", (1e9, 1e9)),
        lambda: replace(north / "IMG_00002.JPG", colour=(9, 9, 9), date=fakes.START + 3600),
        lambda: fakes.write_photos(photos, ["aside"], count=1),
        lambda: (photos / "south/100RECNX/IMG_00000.JPG").write_bytes(b"\xff\xd8\xff broken"),
        lambda: replace(north / "IMG_00007.JPG", date=fakes.START + 5),
    ]
    detect(photos, fakes.FakeModel(memory))
    for number, step in enumerate(steps):
        step()
        model, *_ = detect(photos, fakes.FakeModel(memory))
        detect(photos, fakes.FakeModel(memory), name=f"fresh-{number}")
        expected = (tmp_path / f"fresh-{number}.json").read_bytes()
        assert (tmp_path / "results.json").read_bytes() == expected, number
        if memory:
            bank = contents(tmp_path / f"fresh-{number}.state/bank")
            assert contents(tmp_path / "results.state/bank") == bank, number
        assert len(set(model.extracted)) <= 2, "at most the one that changed, and the check"


def test_other_rules_for_cameras_move_images_and_repeat_no_more_than_these(
    photos, detect, fakes, tmp_path
):
    detect(photos)
    rules = {"camera_regex": r"^(?P<camera>north|south/100RECNX)", "sequence_gap": 4000}
    model, *_ = detect(photos, **rules)
    detect(photos, name="fresh", **rules)
    for name in ("results.json", "results.state/journal.jsonl"):
        fresh = tmp_path / name.replace("results", "fresh", 1)
        assert (tmp_path / name).read_bytes() == fresh.read_bytes()
    assert len(set(model.extracted)) == 11


def test_another_date_of_change_alone_is_no_change(photos, detect):
    first, *_ = detect(photos)
    for path in photos.rglob("*.JPG"):
        os.utime(path, (1e9, 1e9))
    second, *_ = detect(photos)
    assert len(second.extracted) == len(second.detected) == 1


def test_each_image_sees_the_window_of_its_own_camera(photos, detect, fakes, tmp_path):
    """Against the definition: the nearest 20 entries of the camera within half a day, by loops."""
    fakes.write_photos(photos, ["north"], count=60, first=10)
    (photos / "north/undated.jpg").write_bytes(fakes.photograph())
    model = fakes.FakeModel(horizon="day", include_keyframe=False)
    detect(photos, model)
    images = by_file(tmp_path / "results.json")
    bank = Bank.open(str(tmp_path / "results.state/bank"), model.extractor_hash)
    for camera in bank:
        names = camera.image_ids.tolist()
        rows = camera.entries(np.arange(len(camera)))
        keys, values = model.project(rows)
        for name in {*names}:
            own = names.index(name)
            near = []
            for i, other in enumerate(names):
                if not (camera.dated[own] and camera.dated[i]) or other == name:
                    continue
                distance = abs(int(camera.seconds[i] - camera.seconds[own]))
                if distance <= fakes.DAY // 2:
                    near.append((distance, i))
            seen = [i for _, i in sorted(near)[:20]]
            said = float(np.float64(keys + values)[:, seen].sum())
            shift = round(said * 37 % 1.0, 5) / 10
            assert images[name]["detections"][0]["bbox"][0] == pytest.approx(shift, abs=2e-4) or (
                images[name]["detections"][1]["bbox"][0] == pytest.approx(shift, abs=2e-4)
            )


def test_many_entries_are_projected_once_and_memory_of_them_is_bounded(
    photos, detect, fakes, monkeypatch
):
    from context_rcnn.runners.engine import memory

    monkeypatch.setattr(memory, "BLOCK", 8)
    fakes.write_photos(photos, ["north"], count=60, first=10)
    model, *_ = detect(photos)
    assert model.projections == -(-70 * 2 // 8) + -(-10 * 2 // 8)


def test_an_image_without_an_entry_makes_other_batches_of_its_camera(
    photos, detect, fakes, tmp_path
):
    """The memory stays the same, but which images share their keys does not."""

    class Selective(fakes.FakeModel):
        def extract(self, encoded):
            found = super().extract(encoded)
            red = [self._colours(image)[0] > 0.99 for image in encoded]
            found["scores"][red] = -1.0
            return found

    detect(photos, Selective())
    (photos / "north/red.jpg").write_bytes(fakes.photograph((255, 0, 0), fakes.START + 60))
    model, *_ = detect(photos, Selective())
    assert len(set(model.detected)) == 1 + 11
    detect(photos, Selective(), name="fresh")
    assert (tmp_path / "results.json").read_bytes() == (tmp_path / "fresh.json").read_bytes()


def test_a_file_that_stays_as_it_is_is_not_opened_to_be_looked_at(photos, detect, monkeypatch):
    from context_rcnn.runners.engine import files

    detect(photos)
    opened = []
    monkeypatch.setattr(files, "read_clock", lambda path, _: opened.append(path))
    detect(photos)
    assert not opened
    os.utime(photos / "north/IMG_00000.JPG", (1e9, 1e9))
    detect(photos)
    assert [path.name for path in opened] == ["IMG_00000.JPG"]


def test_without_memory_the_single_frame_is_detected(photos, detect, tmp_path):
    model, *_ = detect(photos, memory=False)
    assert not model.extracted and not (tmp_path / "results.state/bank").exists()
    boxes = {
        d["bbox"][0] for i in by_file(tmp_path / "results.json").values() for d in i["detections"]
    }
    assert boxes == {0.0, 0.6}


def test_another_model_or_setting_is_refused_in_words_and_restart_begins_anew(
    photos, detect, fakes, tmp_path
):
    detect(photos)
    with pytest.raises(ValueError, match="begun with other settings: model is 'fake', not 'new'"):
        detect(photos, fakes.FakeModel(name="new"))
    with pytest.raises(ValueError, match="--restart"):
        detect(photos, top_k=1)
    model, *_ = detect(photos, fakes.FakeModel(name="new"), restart=True)
    assert len(set(model.extracted)) == 21
    assert read(tmp_path / "results.json")["info"]["detector"] == "new 0.1"


def test_results_of_others_and_folders_of_others_are_not_replaced(photos, detect, tmp_path):
    (tmp_path / "results.json").write_text("precious")
    with pytest.raises(ValueError, match="exists already, and is not of this run"):
        detect(photos)
    assert (tmp_path / "results.json").read_text() == "precious"
    detect(photos, overwrite=True)
    detect(photos)
    (tmp_path / "mine.state").mkdir()
    (tmp_path / "mine.state/thesis.txt").touch()
    with pytest.raises(ValueError, match="is not the state of a run"):
        detect(photos, name="mine", restart=True)
    assert (tmp_path / "mine.state/thesis.txt").exists()


def test_what_is_missing_is_said_before_anything_takes_long(photos, detect, fakes, tmp_path):
    model = fakes.FakeModel()
    with pytest.raises(ValueError, match="latitude and longitude"):
        from context_rcnn.results.options import CamtrapOptions, Options

        results = Options(camtrap=CamtrapOptions(timezone="Z"))
        detect(photos, model, outputs={"camtrap_dp": tmp_path / "dp"}, results=results)
    with pytest.raises(ValueError, match="top_k 4: .* at most 3 boxes"):
        detect(photos, model, top_k=4, name="x")
    without = fakes.FakeModel()
    without.description["extractor"] = None
    with pytest.raises(ValueError, match="exported without the extractor"):
        detect(photos, without, name="y")
    assert not model.extracted
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        detect(tmp_path / "empty", name="z")


def test_a_dry_run_shows_cameras_and_time_and_stops(photos, detect, fakes, tmp_path):
    fakes.write_photos(photos, ["north"], count=90, first=10)
    assert "seconds per image" in detect(photos / "south", dry_run=True, name="few")[2]
    _, summary, said = detect(photos, dry_run=True)
    assert summary is None and not (tmp_path / "results.json").exists()
    assert "110 images of 2 cameras" in said and "seconds per image" in said and "dry run" in said


def test_a_dry_run_writes_nothing(photos, detect, fakes, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    detect(photos, dry_run=True)
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "temporary"}
    detect(photos)
    before = everything(tmp_path)
    (photos / "north").rename(tmp_path / "away")
    _, _, said = detect(photos, dry_run=True)
    assert "10 images of the last run are no longer there" in said
    (tmp_path / "away").rename(photos / "north")
    detect(photos, dry_run=True, restart=True)
    assert everything(tmp_path) == before
    model, *_ = detect(photos)
    assert len(set(model.extracted)) == 1, "the dry run did not forget what was away"


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("what", ["state", "results"])
def test_a_folder_that_cannot_be_written_says_what_to_give(photos, detect, monkeypatch, what):
    import errno
    import pathlib
    import tempfile

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    if what == "state":
        monkeypatch.setattr(pathlib.Path, "mkdir", refuse)
    else:
        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(ValueError, match=r"Read-only file system\): choose another .* -o FILE"):
        detect(photos)


def test_a_state_in_use_is_said_to_be(photos, detect, tmp_path, fakes):
    detect(photos)
    from context_rcnn.results.records import Header

    path = tmp_path / "results.state/images.sqlite"
    header = (tmp_path / "results.state/journal.jsonl").read_text().splitlines()[0]
    with (
        ImageTable(path, Header.from_json(header)),
        pytest.raises(ValueError, match="is another run using it"),
    ):
        detect(photos)


def test_a_drive_that_is_not_there_costs_nothing(photos, detect, tmp_path):
    detect(photos)
    expected = (tmp_path / "results.json").read_bytes()
    photos.rename(tmp_path / "elsewhere")
    photos.mkdir()
    with pytest.raises(ValueError, match="is the drive connected"):
        detect(photos)
    photos.rmdir()
    (tmp_path / "elsewhere").rename(photos)
    model, *_ = detect(photos)
    assert len(model.extracted) == 1 and (tmp_path / "results.json").read_bytes() == expected
    (photos / "north/IMG_00000.JPG").unlink()
    _, _, said = detect(photos)
    assert "1 images of the last run are no longer there" in said


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("refused", ["folder", "file"])
def test_what_cannot_be_looked_at_now_keeps_what_was_known_of_it(
    photos, detect, fakes, tmp_path, locked, memory, refused
):
    """Of a camera that gets a new image meanwhile, and of one that stays as it was."""
    fakes.write_photos(photos, ["north/100RECNX", "aside"], count=3, first=20)
    (photos / "aside/broken.jpg").write_bytes(b"")
    detect(photos, fakes.FakeModel(memory))
    before = by_file(tmp_path / "results.json")
    away = {"north/100RECNX", "aside"}
    if refused == "file":
        away = {f"{folder}/IMG_000{i}.JPG" for folder in away for i in (20, 21, 22)}
    locked.update(photos / name for name in away)
    fakes.write_photos(photos, ["north"], count=1, first=30)
    _, summary, said = detect(photos, fakes.FakeModel(memory))
    after = by_file(tmp_path / "results.json")
    assert set(after) == {*before, "north/IMG_00030.JPG"} and summary.unlisted == len(away)
    kept = [name for name in before if name.startswith(("north/100RECNX", "aside"))]
    assert len(kept) == 7 and all(after[name] == before[name] for name in kept)
    assert "could not be listed" in said and "no longer there" not in said
    lines = (tmp_path / "results.state/failures.jsonl").read_text().splitlines()
    named = {f["file"] for f in map(json.loads, lines)}
    assert away <= named
    locked.clear()
    model, summary, said = detect(photos, fakes.FakeModel(memory))
    assert not summary.unlisted and "listed" not in said
    assert len(set(model.extracted)) <= 1, "no entry was lost"
    detect(photos, fakes.FakeModel(memory), name="fresh")
    assert (tmp_path / "results.json").read_bytes() == (tmp_path / "fresh.json").read_bytes()
    if memory:
        bank = contents(tmp_path / "fresh.state/bank")
        assert contents(tmp_path / "results.state/bank") == bank


def test_no_file_of_the_state_names_an_image_that_was_removed(photos, detect, fakes, tmp_path):
    (photos / "north/person-at-the-gate.jpg").write_bytes(fakes.photograph(date=fakes.START))
    detect(photos, explain=30)

    def naming():
        files = [path for path in tmp_path.glob("results.state/**/*") if path.is_file()]
        return [path.name for path in files if b"person-at-the-gate" in path.read_bytes()]

    assert {"images.sqlite", "journal.jsonl"} <= {*naming()}
    (photos / "north/person-at-the-gate.jpg").unlink()
    detect(photos, explain=30)
    assert not naming()


def test_a_folder_that_is_gone_for_good_leaves_the_results(photos, detect, tmp_path, locked):
    import shutil

    detect(photos)
    locked.add(photos / "south")
    detect(photos)
    locked.clear()
    shutil.rmtree(photos / "south")
    _, summary, said = detect(photos)
    assert summary.images == 10 and "10 images of the last run are no longer there" in said


def test_a_state_of_another_version_or_none_at_all_is_refused(photos, detect, tmp_path):
    import sqlite3

    detect(photos)
    path = tmp_path / "results.state/images.sqlite"
    with sqlite3.connect(path) as base:
        base.execute("PRAGMA user_version = 7")
    base.close()
    with pytest.raises(ValueError, match="of version 7, this program reads 1: .* --restart"):
        detect(photos)
    path.write_text("no table at all, but long enough to be looked at " * 40)
    with pytest.raises(ValueError, match="not a database; .* delete the folder"):
        detect(photos)


def test_a_state_that_lost_its_bank_gets_it_back(photos, detect, tmp_path):
    import shutil

    detect(photos)
    expected = (tmp_path / "results.json").read_bytes()
    shutil.rmtree(tmp_path / "results.state/bank")
    model, *_ = detect(photos)
    assert len(set(model.extracted)) == 21
    assert (tmp_path / "results.json").read_bytes() == expected


def test_a_damaged_picture_is_named_as_long_as_it_is_there_and_damaged(detect, photos, tmp_path):
    damaged, sound = photos / "north/damaged.jpg", hostile_folder.jpeg(3)

    def named():
        lines = (tmp_path / "results.state/failures.jsonl").read_text().splitlines()
        return [f for f in map(json.loads, lines) if f["reason"] == "damaged_data"]

    for _ in range(2):  # a run that looks at nothing again still names it
        damaged.write_bytes(hostile_folder.damaged())
        _, summary, _ = detect(photos)
        (found,) = named()
        assert (found["file"], found["camera"]) == ("north/damaged.jpg", "north")
        assert found["lost"] == "nothing" and "parts may be wrong" in found["detail"]
        assert summary.failed == 0 and summary.images == 21
    damaged.write_bytes(sound)
    detect(photos)
    assert not named()
    damaged.write_bytes(hostile_folder.damaged())
    detect(photos)
    assert named()
    damaged.unlink()
    detect(photos)
    assert not named()
    assert b"north/damaged.jpg" not in (tmp_path / "results.state/images.sqlite").read_bytes()
