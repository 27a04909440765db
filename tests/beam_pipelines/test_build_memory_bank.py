"""The bank of an archive: every image stored once or named, and the same bytes always."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems
from PIL import Image

from beam_pipelines import bank_shards, create_examples, files, sources
from beam_pipelines import build_memory_bank as pipeline
from beam_pipelines.extraction import FinishedPart
from context_rcnn.data import examples as examples_lib
from context_rcnn.memory_bank import maintenance
from context_rcnn.memory_bank import writer as bank_writer
from context_rcnn.memory_bank.curation import CameraOptions, FrameOptions
from context_rcnn.memory_bank.manifest import shard_of
from context_rcnn.memory_bank.store import Bank


def build(archive, extractor, output, **options):
    return pipeline.build_memory_bank(
        str(archive), extractor, str(output), **({"num_shards": 2} | options)
    )


def bytes_of(folder):
    return {
        path.name: path.read_bytes()
        for path in sorted(pathlib.Path(folder).glob("*"))
        if path.is_file()
    }


def rows_of(archive):
    files = sorted(map(str, pathlib.Path(archive).glob("*.tfrecord")))
    dataset = tf.data.TFRecordDataset(files).map(examples_lib.parse_example)
    return list(dataset.as_numpy_iterator())


def failures_of(folder):
    return [
        json.loads(line)
        for line in (pathlib.Path(folder) / "failures.jsonl").read_text().splitlines()
    ]


def test_every_image_is_stored_with_its_own_feature_time_and_box(archive, extractor, tmp_path):
    manifest = build(archive, extractor, tmp_path / "bank", dtype="float32")
    rows = rows_of(archive)
    assert manifest.totals()["images"] == manifest.totals()["entries"] == len(rows)
    assert not failures_of(tmp_path / "bank")
    bank = Bank.open(tmp_path / "bank", "toy-1")
    module = tf.saved_model.load(extractor)
    for row in rows[:: len(rows) // 25]:
        camera = bank.camera(row["camera"].decode())
        (index,) = np.flatnonzero(camera.image_ids == row["image_id"].decode())
        expected = module.extract(tf.constant([row["image_bytes"]]))
        np.testing.assert_allclose(
            camera.features.read(np.array([index]))[0], expected["features"][0, 0], atol=1e-6
        )
        np.testing.assert_allclose(camera.boxes[index], expected["boxes"][0, 0], atol=1e-6)
        assert camera.seconds[index] == row["seconds"]
    for camera in bank:
        assert (np.diff(camera.seconds) >= 0).all()
    assert maintenance.verify(str(tmp_path / "bank")) == []


def test_workers_and_batches_do_not_change_a_byte(archive, extractor, tmp_path):
    build(archive, extractor, tmp_path / "one")
    build(
        archive,
        extractor,
        tmp_path / "two",
        batch_size=3,
        pipeline_args=["--direct_num_workers=2", "--direct_running_mode=multi_threading"],
    )
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert len(bytes_of(tmp_path / "one")) == 4  # two files, manifest, failures


def test_a_file_of_the_bank_knows_its_own_cameras_alone():
    """No worker has to hold all parts of a large archive."""
    cameras = {f"camera {i}": (f"hash {i}", ()) for i in range(40)}
    part = FinishedPart("train-0", "bank/_progress/parts/0", "", cameras)
    found = dict(bank_shards._by_file(part, 4))
    assert set(found) == {0, 1, 2, 3}
    for shard, of_file in found.items():
        assert of_file.folder == part.folder and of_file.cameras
        assert {shard_of(name, 4) for name in of_file.cameras} == {shard}
    together = {
        name: facts for of_file in found.values() for name, facts in of_file.cameras.items()
    }
    assert together == cameras
    alone = dataclasses.replace(part, cameras={"camera 7": ("hash 7", ())})
    assert len(list(bank_shards._by_file(alone, 4))) == 1


def test_a_second_run_does_nothing_again(archive, extractor, tmp_path, monkeypatch):
    build(archive, extractor, tmp_path / "bank")
    before = bytes_of(tmp_path / "bank")

    def never(*_):
        raise AssertionError("the extractor ran again")

    monkeypatch.setattr(pipeline.ExtractPart, "_extract", never)
    monkeypatch.setattr(bank_shards.WriteBankShard, "_write", never)
    build(archive, extractor, tmp_path / "bank")
    assert bytes_of(tmp_path / "bank") == before


def test_a_killed_build_goes_on_with_what_is_missing(archive, extractor, tmp_path, monkeypatch):
    build(archive, extractor, tmp_path / "whole")
    extract, calls = pipeline.ExtractPart._extract, []

    def dies_on_the_second(self, part, folder):
        calls.append(part.piece.name)
        if len(calls) == 2:
            # Half a part is there, as after a kill.
            os.makedirs(part.folder, exist_ok=True)
            (pathlib.Path(part.folder) / "bank-00000-of-00001.tfrecord").write_bytes(b"half")
            raise KeyboardInterrupt
        return extract(self, part, folder)

    monkeypatch.setattr(pipeline.ExtractPart, "_extract", dies_on_the_second)
    with contextlib.suppress(BaseException):
        build(archive, extractor, tmp_path / "bank")
    assert not (tmp_path / "bank" / "manifest.json").exists()
    again = []

    def counts(self, part, folder):
        again.append(part.piece.name)
        return extract(self, part, folder)

    monkeypatch.setattr(pipeline.ExtractPart, "_extract", counts)
    build(archive, extractor, tmp_path / "bank")
    files = sorted(map(str, archive.glob("*.tfrecord")))
    assert 0 < len(again) < len(files) and calls[0] not in again
    assert bytes_of(tmp_path / "bank") == bytes_of(tmp_path / "whole")


def write_examples(path, rows):
    """Old-style examples with these images, times and names, written by hand."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for camera, image_id, seconds, encoded in rows:
            feature = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
                "image/source_id": tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[image_id.encode()])
                ),
                "image/location": tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[camera.encode()])
                ),
            }
            if seconds is not None:
                feature["image/unix_seconds"] = tf.train.Feature(
                    int64_list=tf.train.Int64List(value=[seconds])
                )
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


def photograph(value):
    noise = np.random.default_rng(value).integers(0, 20, (12, 16, 3))
    return tf.io.encode_jpeg((noise + value).clip(0, 255).astype(np.uint8)).numpy()


def test_bad_images_are_lost_alone_and_named(extractor, tmp_path):
    """One in twenty: unreadable, or sending the extractor to NaN."""
    rows = [("cam", f"im{i:03}", 1_600_000_000 + i, photograph(i)) for i in range(120)]
    bad = {}
    for i in (3, 50, 51, 77):
        rows[i] = (*rows[i][:3], b"\xff\xd8 no image")
        bad[f"im{i:03}"] = "unreadable"
    for i in (20, 99):
        white = tf.io.encode_jpeg(tf.fill([12, 16, 3], tf.constant(255, tf.uint8))).numpy()
        rows[i] = (*rows[i][:3], white)
        bad[f"im{i:03}"] = "not_finite"
    write_examples(tmp_path / "x.tfrecord", rows)
    build(tmp_path / "x.tfrecord", extractor, tmp_path / "bank", num_shards=1)
    camera = Bank.open(tmp_path / "bank").camera("cam")
    assert set(camera.image_ids) == {row[1] for row in rows} - set(bad)
    assert {f["image_id"]: f["reason"] for f in failures_of(tmp_path / "bank")} == bad


def test_images_without_a_date_are_stored_and_named(extractor, tmp_path):
    rows = [("cam", "dated", 1_600_000_000, photograph(1)), ("cam", "undated", None, photograph(2))]
    write_examples(tmp_path / "x.tfrecord", rows)
    manifest = build(tmp_path / "x.tfrecord", extractor, tmp_path / "bank")
    assert (manifest.totals()["entries"], manifest.totals()["undated"]) == (2, 1)
    (failure,) = failures_of(tmp_path / "bank")
    assert (failure["image_id"], failure["reason"], failure["lost"]) == (
        "undated",
        "undated",
        "date",
    )


def test_an_image_that_is_there_twice_is_stored_once(extractor, tmp_path):
    """As the first file has it."""
    rows = [
        ("cam", "a", 5, photograph(1)),
        ("cam", "a", 5, photograph(2)),
        ("cam", "b", 6, photograph(3)),
    ]
    write_examples(tmp_path / "x-0.tfrecord", rows)
    write_examples(tmp_path / "x-1.tfrecord", [("cam", "b", 6, photograph(4))])
    build(f"{tmp_path}/x-*", extractor, tmp_path / "bank")
    camera = Bank.open(tmp_path / "bank").camera("cam")
    assert camera.image_ids.tolist() == ["a", "b"]
    found = [(f["image_id"], f["reason"]) for f in failures_of(tmp_path / "bank")]
    assert sorted(found) == [("a", "duplicate_image"), ("b", "duplicate_image")]
    kept, features = camera.features.read(np.array([1])), []
    for number in range(2):
        build(f"{tmp_path}/x-{number}*", extractor, tmp_path / f"bank-{number}")
        alone = Bank.open(tmp_path / f"bank-{number}").camera("cam")
        features.append(alone.features.read(np.array([alone.image_ids.tolist().index("b")])))
    np.testing.assert_array_equal(kept, features[0])
    assert not np.array_equal(*features)


def test_new_images_touch_only_the_files_concerned(extractor, tmp_path):
    cameras = [f"cam{i}" for i in range(12)]
    rows = [(c, f"{c}-{i}", 100 * i, photograph(i)) for c in cameras for i in range(4)]
    write_examples(tmp_path / "x-0.tfrecord", rows)
    options = {"num_shards": 4, "dtype": "float32"}
    build(f"{tmp_path}/x-*", extractor, tmp_path / "bank", **options)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "bank").glob("*.tfrecord")}
    write_examples(tmp_path / "x-1.tfrecord", [("cam3", "new", 10_000, photograph(9))])
    manifest = build(f"{tmp_path}/x-*", extractor, tmp_path / "bank", **options)
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "bank").glob("*.tfrecord")}
    changed = {name for name in after if after[name] != before[name]}
    concerned = manifest.shard_names[manifest.cameras["cam3"].shard]
    assert changed == {concerned}
    assert manifest.cameras["cam3"].entries == 5
    build(f"{tmp_path}/x-*", extractor, tmp_path / "fresh", **options)
    assert bytes_of(tmp_path / "fresh") == bytes_of(tmp_path / "bank")


def test_selection_is_that_of_the_frame_and_camera_options(archive, extractor, tmp_path):
    rows = rows_of(archive)
    manifest = build(
        archive, extractor, tmp_path / "eight", frames=FrameOptions(top_k=2, bottom_k=1)
    )
    totals = manifest.totals()
    assert totals["entries"] == 3 * len(rows) and totals["dropped"] == {"not_top_k": 2 * len(rows)}
    manifest = build(
        archive,
        extractor,
        tmp_path / "few",
        cameras=CameraOptions(max_entries=10, policy="uniform"),
    )
    assert [info.entries for info in manifest.cameras.values()] == [10] * 3
    assert manifest.totals()["dropped"] == {
        "not_top_k": 4 * len(rows),
        "over_budget": len(rows) - 30,
    }
    labelled = sum(row["label_state"] >= 2 for row in rows)
    manifest = build(archive, extractor, tmp_path / "labelled", labelled_only=True)
    assert manifest.totals()["images"] == labelled
    assert manifest.totals()["dropped"] == {
        "not_positive_by_label": 5 * (len(rows) - labelled),
        "not_top_k": 4 * labelled,
    }


def test_another_extractor_is_refused_with_both_hashes(archive, extractor, tmp_path):
    build(archive, extractor, tmp_path / "bank")
    other = tmp_path / "other"
    shutil.copytree(extractor, other)
    (other / "extractor.json").write_text(
        json.dumps({"hash": "toy-2", "source": "detections", "depth": 12})
    )
    with pytest.raises(ValueError, match="made by extractor toy-1, .* is toy-2"):
        build(archive, str(other), tmp_path / "bank")


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--examples=/nowhere*"], "no file matches"),
        (["--extractor=/nowhere"], "/nowhere is not an extractor"),
        (["--top_k=0"], "top_k 0 must be positive"),
        (["--batch_size=0"], "batch_size must be positive"),
        (["--no_such_flag=1"], "unknown flags: --no_such_flag"),
        (["--runner=DaskRunner"], "Dask runner drops steps"),
        (["--input_folder=/"], "give either --examples or an archive"),
        (["--output_dir=bank[1]"], "without any of"),
    ],
)
def test_mistakes_end_in_a_sentence(archive, extractor, tmp_path, capsys, argv, message):
    flags = [f"--examples={archive}", f"--extractor={extractor}", f"--output_dir={tmp_path}/bank"]
    assert pipeline.main([*flags, *argv]) == 2
    assert message in capsys.readouterr().err


def test_the_command_prints_what_is_in_the_bank(archive, extractor, tmp_path, capsys):
    flags = [f"--examples={archive}", f"--extractor={extractor}", f"--output_dir={tmp_path}/bank"]
    assert pipeline.main(flags) == 0
    output = capsys.readouterr().out
    assert f"{len(rows_of(archive))} entries of" in output and "cam_00" in output


def photographs(folder, cameras=("north", "south", "west"), images=8):
    """A folder of photographs, one folder a camera, a day between two of them."""
    for number, camera in enumerate(cameras):
        for i in range(images):
            path = pathlib.Path(folder) / camera / f"{i:03}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_photograph(path, 10 * i + number, f"2020:05:{i + 1:02} 12:00:00")
    return pathlib.Path(folder)


def save_photograph(path, value, date=None):
    image = Image.open(io.BytesIO(photograph(value)))
    exif = Image.Exif()
    if date:
        exif.get_ifd(0x8769)[0x9003] = date
    image.save(path, exif=exif, quality=95)


def remember(folder, extractor, output, *argv):
    flags = [f"--input_folder={folder}", f"--extractor={extractor}", f"--output_dir={output}"]
    return pipeline.main([*flags, "--num_shards=2", *argv])


def test_a_folder_of_photographs_gives_what_its_examples_give(extractor, tmp_path):
    photos = photographs(tmp_path / "photos")
    assert remember(photos, extractor, tmp_path / "bank", "--dtype=float32") == 0
    create_examples.main([f"--input_folder={photos}", f"--output_dir={tmp_path}/examples"])
    build(tmp_path / "examples", extractor, tmp_path / "other", dtype="float32")
    assert bytes_of(tmp_path / "bank") == bytes_of(tmp_path / "other")
    camera = Bank.open(tmp_path / "bank").camera("south")
    assert camera.image_ids.tolist() == [f"south/{i:03}.jpg" for i in range(8)]
    assert camera.seconds[0] == 1588334400  # 2020-05-01 12:00:00


def test_an_annotated_archive_is_remembered_as_it_lies(extractor, simulated, archive, tmp_path):
    flags = [f"--input_json={simulated}/camera_traps.json", f"--image_root={simulated}/images"]
    flags += [f"--extractor={extractor}", f"--output_dir={tmp_path}/bank", "--num_shards=2"]
    assert pipeline.main([*flags, "--positives=label"]) == 0
    build(archive, extractor, tmp_path / "other", labelled_only=True)
    assert bytes_of(tmp_path / "bank") == bytes_of(tmp_path / "other")


def test_damaged_photographs_are_lost_alone_and_named(extractor, tmp_path, counters):
    """One in twenty, each broken in another way."""
    photos = photographs(tmp_path / "photos", cameras=("cam",), images=20)
    whole = (photos / "cam" / "004.jpg").read_bytes()
    damage = {
        "004": (whole[:-40], "truncated"),
        "009": (b"", "empty_file"),
        "013": (b"\xff\xd8 no image", "unreadable"),
    }
    for name, (data, _) in damage.items():
        (photos / "cam" / f"{name}.jpg").write_bytes(data)
    assert remember(photos, extractor, tmp_path / "bank") == 0
    camera = Bank.open(tmp_path / "bank").camera("cam")
    bad = {f"cam/{name}.jpg": reason for name, (_, reason) in damage.items()}
    assert set(camera.image_ids) == {f"cam/{i:03}.jpg" for i in range(20)} - set(bad)
    lost = {
        f["image_id"]: f["reason"] for f in failures_of(tmp_path / "bank") if f["lost"] == "image"
    }
    assert lost == bad
    counted = counters()
    assert {reason: counted[f"failed_{reason}"] for reason in bad.values()} == dict.fromkeys(
        bad.values(), 1
    )


def test_a_folder_that_cannot_be_listed_costs_a_bank_nothing(extractor, tmp_path, locked, capsys):
    photos = photographs(tmp_path / "photos")
    assert remember(photos, extractor, tmp_path / "bank") == 0
    before = bytes_of(tmp_path / "bank")
    locked.add(photos / "south")
    assert remember(photos, extractor, tmp_path / "bank") == 2
    assert "folders cannot be listed now: south" in capsys.readouterr().err
    assert bytes_of(tmp_path / "bank") == before
    # A bank that begins without the folder says so, and may grow.
    for _ in range(2):
        assert remember(photos, extractor, tmp_path / "other") == 1
    named = {f["file"]: f["reason"] for f in failures_of(tmp_path / "other")}
    assert named == {"south": "not_listed"}
    locked.clear()
    assert remember(photos, extractor, tmp_path / "other") == 0
    assert bytes_of(tmp_path / "other") == before


def test_photographs_that_are_added_concern_their_own_camera_only(extractor, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "IMAGES_PER_PIECE", 3)
    cameras = [f"cam{i}" for i in range(6)]
    photos = photographs(tmp_path / "photos", cameras=cameras)
    assert remember(photos, extractor, tmp_path / "bank") == 0
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "bank").glob("*.tfrecord")}
    save_photograph(photos / "cam3" / "new.jpg", 77, "2020:06:01 12:00:00")
    extract, again = pipeline.ExtractPart._extract, []

    def counts(self, part, folder):
        again.extend(p.image_id for p in part.piece.read())
        return extract(self, part, folder)

    monkeypatch.setattr(pipeline.ExtractPart, "_extract", counts)
    assert remember(photos, extractor, tmp_path / "bank") == 0
    assert {name.split("/")[0] for name in again} == {"cam3"}
    assert "cam3/new.jpg" in again and len(again) < 9  # one piece of the camera, not all
    manifest = Bank.open(tmp_path / "bank").manifest
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "bank").glob("*.tfrecord")}
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {manifest.shard_names[manifest.cameras["cam3"].shard]}
    again.clear()
    assert remember(photos, extractor, tmp_path / "bank") == 0
    assert not again
    remember(photos, extractor, tmp_path / "fresh")
    assert bytes_of(tmp_path / "fresh") == bytes_of(tmp_path / "bank")


def test_workers_do_not_change_a_byte_of_an_archives_bank(extractor, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "IMAGES_PER_PIECE", 3)
    photos = photographs(tmp_path / "photos")
    remember(photos, extractor, tmp_path / "one")
    threads = ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]
    remember(photos, extractor, tmp_path / "two", "--batch_size=5", *threads)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


def test_what_is_no_longer_needed_is_removed(extractor, tmp_path):
    photos = photographs(tmp_path / "photos")
    remember(photos, extractor, tmp_path / "bank")
    shutil.rmtree(photos / "west")
    remember(photos, extractor, tmp_path / "bank", "--top_k=2")
    assert Bank.open(tmp_path / "bank").cameras == ["north", "south"]
    progress = tmp_path / "bank" / "_progress"
    assert (
        len(list((progress / "parts").iterdir())) == len(list((progress / "plan").iterdir())) == 2
    )


def test_a_shard_of_another_choice_is_not_taken_for_this_one(archive, extractor, tmp_path):
    """Killed between writing its files and putting them in place, a build has changed nothing, also
    where the old files are as long as the new ones."""
    budget = {"max_entries": 10}
    newest, uniform = (
        CameraOptions(policy="newest", **budget),
        CameraOptions(policy="uniform", **budget),
    )
    build(archive, extractor, tmp_path / "bank", cameras=newest)
    old = bytes_of(tmp_path / "bank")
    with pytest.MonkeyPatch.context() as patched, contextlib.suppress(BaseException):
        patched.setattr(bank_writer, "commit", lambda *_: 1 / 0)
        build(archive, extractor, tmp_path / "bank", cameras=uniform)
    assert bytes_of(tmp_path / "bank")["manifest.json"] == old["manifest.json"]
    build(archive, extractor, tmp_path / "bank", cameras=uniform)
    build(archive, extractor, tmp_path / "fresh", cameras=uniform)
    assert maintenance.verify(str(tmp_path / "bank")) == []
    assert bytes_of(tmp_path / "bank") == bytes_of(tmp_path / "fresh")


def test_deleted_entries_are_in_no_file_of_the_folder(archive, extractor, tmp_path):
    build(archive, extractor, tmp_path / "bank", dtype="float32")
    rows = Bank.open(tmp_path / "bank").camera("cam_01").stored().features
    maintenance.delete(str(tmp_path / "bank"), cameras=["cam_01"])
    left = b"".join(p.read_bytes() for p in (tmp_path / "bank").glob("**/*") if p.is_file())
    assert not any(row.tobytes() in left for row in rows)


def test_everything_but_photographs_may_be_on_another_storage(archive, extractor, tmp_path, box):
    url, folder = box
    shutil.copytree(archive, folder / "examples")
    shutil.copytree(extractor, folder / "extractor")
    build(archive, extractor, tmp_path / "here")
    build(f"{url}/examples", f"{url}/extractor", f"{url}/bank/")
    assert bytes_of(folder / "bank") == bytes_of(tmp_path / "here")
    with pytest.raises(ValueError, match="bank copy box://b/bank FOLDER"):
        Bank.open(f"{url}/bank")
    before = {p: p.stat().st_mtime_ns for p in folder.glob("bank/**/*.tfrecord")}
    build(f"{url}/examples", f"{url}/extractor", f"{url}/bank")
    assert {p: p.stat().st_mtime_ns for p in folder.glob("bank/**/*.tfrecord")} == before


@pytest.mark.parametrize(
    "killed_after",
    [6, *(pytest.param(moved, marks=pytest.mark.slow) for moved in (0, 2, 4, 8, 10))],
)
def test_a_build_killed_while_files_are_moved_on_another_storage_goes_on(
    archive, extractor, tmp_path, box, killed_after, monkeypatch
):
    url, folder = box
    options = {"cameras": CameraOptions(stride=2)}
    build(archive, extractor, f"{url}/bank")
    build(archive, extractor, tmp_path / "here", **options)
    moved = []

    def move(self, source, target, original=files.BeamFiles.move):
        if len(moved) == killed_after:
            FileSystems.delete([target])  # killed in its middle
            raise KeyboardInterrupt
        original(self, source, target)
        moved.append(target)

    monkeypatch.setattr(files.BeamFiles, "move", move)
    with contextlib.suppress(BaseException):
        build(archive, extractor, f"{url}/bank", **options)
    monkeypatch.undo()
    build(archive, extractor, f"{url}/bank", **options)
    assert bytes_of(folder / "bank") == bytes_of(tmp_path / "here")
