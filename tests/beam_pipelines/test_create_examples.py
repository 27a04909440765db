"""The whole way from an archive to shards: complete, deterministic, resumable."""

import itertools
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from beam_pipelines import create_examples as pipeline
from beam_pipelines.shards import mixed
from context_rcnn.data.archive import ArchiveOptions
from context_rcnn.data.failures import Failure
from context_rcnn.data.images import ImageOptions
from context_rcnn.data.records import ImageRecord
from context_rcnn.data.splits import read_splits
from context_rcnn.data.validate import validate_archive

CAMERAS, IMAGES_PER_CAMERA = 5, 20
BAD = {  # image number: (what is done to the file, expected reason): 5 % of the images
    7: ("missing", "missing_file"),
    23: ("empty", "empty_file"),
    44: ("truncated", "truncated"),
    61: ("text", "unreadable"),
    88: ("outside", "outside_root"),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> dict[str, str]:
    """100 images of 5 cameras in bursts of 4, of which 5 are bad."""
    root = tmp_path_factory.mktemp("archive")
    (root.parent / "outside.jpg").write_bytes(b"secret")
    generator = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(CAMERAS * IMAGES_PER_CAMERA):
        camera, place = divmod(i, IMAGES_PER_CAMERA)
        name = f"camera_{camera}/image_{place:02d}.jpg"
        path = root / name
        path.parent.mkdir(exist_ok=True)
        blocks = generator.integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)).save(path)
        images.append(
            {
                "id": f"id-{i}",
                "file_name": name,
                "location": camera,
                "datetime": f"2013-10-{1 + place // 4:02d} 13:31:0{place % 4}",
                "width": 64,
                "height": 48,
            }
        )
        annotation = {"id": f"an-{i}", "image_id": f"id-{i}", "category_id": i % 3}
        if i % 3 == 2:
            annotation["bbox"] = [i % 20, 5, 20, 10]
        annotations.append(annotation)
    for i, (damage, _) in BAD.items():
        path = root / images[i]["file_name"]
        data = path.read_bytes()
        path.unlink()
        if damage == "outside":
            path.symlink_to(root.parent / "outside.jpg")
        elif damage != "missing":
            path.write_bytes(
                {"empty": b"", "text": b"text", "truncated": data[: -len(data) // 3]}[damage]
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(["empty", "bobcat", "deer"])]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "cct.json").write_text(json.dumps(document))
    return {"input_json": str(root / "cct.json"), "image_root": str(root)}


def run(archive: dict[str, str], output_dir: Path, *more: str) -> int:
    inputs = [f"--{name}={value}" for name, value in archive.items()]
    return pipeline.main([*inputs, f"--output_dir={output_dir}", "--num_shards=3", *more])


@pytest.fixture(scope="module")
def written(archive, tmp_path_factory) -> Path:
    output_dir = tmp_path_factory.mktemp("examples")
    assert run(archive, output_dir) == 0
    return output_dir


def results(folder: Path) -> dict[str, bytes]:
    """All files but the bookkeeping."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def examples(folder: Path) -> dict[str, list[dict]]:
    """Values of every example by shard, read with TensorFlow only."""
    shards = {}
    for path in sorted(folder.glob("*.tfrecord")):
        records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
        features = [tf.train.Example.FromString(record).features.feature for record in records]
        shards[path.name] = [
            {key: list(getattr(f, f.WhichOneof("kind")).value) for key, f in fields.items()}
            for fields in features
        ]
    return shards


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def test_exactly_the_bad_images_are_missing_and_each_is_named(written):
    found = {
        record["image/source_id"][0].decode()
        for records in examples(written).values()
        for record in records
    }
    assert found == {f"id-{i}" for i in range(100)} - {f"id-{i}" for i in BAD}
    lines = (written / "failures.jsonl").read_text().splitlines()
    failures = [Failure.from_json(line) for line in lines]
    assert lines == sorted(lines)
    assert {failure.image_id: failure.reason.value for failure in failures} == {
        f"id-{i}": reason for i, (_, reason) in BAD.items()
    }
    assert all(set(json.loads(line)) >= {"file", "camera", "stage", "detail"} for line in lines)


def test_the_manifest_counts_what_is_there(written):
    facts = manifest(written)
    assert facts["images_listed"] == 100
    assert facts["images_written"] == 95
    assert facts["images_lost"] == 5
    assert facts["failures"] == dict.fromkeys(sorted(reason for _, reason in BAD.values()), 1)
    assert sum(counts["images"] for counts in facts["cameras"].values()) == 95
    for shard in facts["shards"]:
        assert len(examples(written)[shard["file"]]) == shard["records"]
        assert (written / shard["file"]).stat().st_size == shard["bytes"]
    assert [shard["file"] for shard in facts["shards"]] == [
        f"{split}-{i:05d}-of-00003.tfrecord" for split in ("train", "val") for i in range(3)
    ]


def test_cameras_keep_to_their_split_and_bursts_to_their_shard(written):
    split_of = read_splits(written / "splits.json").by_camera()
    shard_of_burst = {}
    for shard, records in examples(written).items():
        for record in records:
            camera = record["image/location"][0].decode()
            assert shard.startswith(split_of[camera] + "-")
            burst = (camera, record["image/seq_id"][0])
            assert shard_of_burst.setdefault(burst, shard) == shard
        for _, members in bursts(records):
            times = [record["image/unix_seconds"] for record in members]
            assert times == sorted(times)
        names = [name for name, _ in bursts(records)]
        assert len(names) == len(set(names)), "a burst lies in two places"
    assert len(shard_of_burst) == CAMERAS * IMAGES_PER_CAMERA // 4


def bursts(records):
    """Runs of records of the same camera and sequence."""
    groups = itertools.groupby(records, lambda r: (r["image/location"][0], r["image/seq_id"][0]))
    return [(name, list(members)) for name, members in groups]


def test_any_part_of_a_shard_has_most_cameras():
    records = [
        ImageRecord(
            f"{i}", f"{i}.jpg", camera=f"camera {i // 30:02}", seconds=i, seq_id=f"{i // 3}"
        )
        for i in range(600)
    ]
    order = mixed(reversed(records))
    assert sorted(order, key=lambda record: record.seconds) == records
    for start in range(0, 600, 150):
        assert len({record.camera for record in order[start : start + 150]}) >= 15  # of 20
    for start in range(0, 600, 3):
        assert len({record.seq_id for record in order[start : start + 3]}) == 1


def test_validation_sees_the_same(archive, written):
    report = validate_archive(ArchiveOptions(**archive)).to_dict()
    facts = manifest(written)
    counted = ("cameras", "boxes_by_class", "failures", "total", "image_changes")
    for field in (*counted, "images_listed", "images_lost"):
        assert report[field] == facts[field], field
    # Every third image has a deer's box; those of a split add up to all.
    usable = [i for i in range(CAMERAS * IMAGES_PER_CAMERA) if i % 3 == 2 and i not in BAD]
    assert facts["boxes_by_class"] == {"deer": len(usable)}
    of_splits = [counts["boxes_by_class"]["deer"] for counts in facts["splits"].values()]
    assert sum(of_splits) == len(usable) and all(of_splits)
    assert report["splits"] == {
        split: counts["total"]["images"] for split, counts in facts["splits"].items()
    }


@pytest.mark.parametrize("mode", ["in_memory", "multi_threading"])
def test_workers_do_not_change_a_byte(archive, written, tmp_path, mode):
    workers = ["--direct_num_workers=2", f"--direct_running_mode={mode}"]
    assert run(archive, tmp_path, *workers) == 0
    assert results(tmp_path) == results(written)


def test_a_time_zone_does_not_change_a_byte(archive, written, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/Los_Angeles")
        time.tzset()
        assert time.localtime(0).tm_hour == 16
        assert run(archive, tmp_path) == 0
    time.tzset()
    printed = capsys.readouterr().out
    assert "95 of 100 images are in 6 shards; 5 are not." in printed and "truncated" in printed
    assert results(tmp_path) == results(written)


@pytest.fixture
def copy(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def test_a_killed_run_goes_on_where_it_was(archive, written, copy):
    kept = {path.name: path.stat().st_mtime_ns for path in copy.glob("train-*.tfrecord")}
    # As if the run had died between two shards, within a third, and before the manifest.
    (copy / "val-00000-of-00003.tfrecord").unlink()
    (copy / "_progress/done/val-00001-of-00003.json").unlink()
    (copy / "val-00002-of-00003.tfrecord").write_bytes(b"half")
    (copy / "val-00002-of-00003.tfrecord.writing-0123").write_bytes(b"half")
    (copy / "manifest.json").unlink()
    assert run(archive, copy) == 0
    assert results(copy) == results(written)
    assert kept == {path.name: path.stat().st_mtime_ns for path in copy.glob("train-*.tfrecord")}


def test_overwrite_writes_everything_again(archive, written, copy):
    before = {path.name: path.stat().st_mtime_ns for path in copy.glob("*.tfrecord")}
    assert run(archive, copy, "--overwrite") == 0
    after = {path.name: path.stat().st_mtime_ns for path in copy.glob("*.tfrecord")}
    assert all(after[name] > before[name] for name in before)
    assert results(copy) == results(written)


def test_only_shards_that_change_are_written_again(archive, written, copy, tmp_path):
    document = json.loads(Path(archive["input_json"]).read_text())
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] != "id-2"]
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(document))
    assert run({**archive, "input_json": str(changed)}, copy) == 0
    differing = [
        name
        for name, data in results(written).items()
        if name.endswith(".tfrecord") and (copy / name).read_bytes() != data
    ]
    untouched = [
        path.name
        for path in copy.glob("*.tfrecord")
        if path.stat().st_mtime_ns == (written / path.name).stat().st_mtime_ns
    ]
    assert len(differing) == 1
    assert len(untouched) == 5


def test_shards_of_an_earlier_number_are_removed_and_foreign_files_are_not(archive, copy):
    (copy / "bank-00000-of-00003.tfrecord").write_bytes(b"of somebody else")
    assert run(archive, copy, "--num_shards=1") == 0
    assert sorted(path.name for path in copy.glob("*.tfrecord")) == [
        "bank-00000-of-00003.tfrecord",
        "train-00000-of-00001.tfrecord",
        "val-00000-of-00001.tfrecord",
    ]
    assert manifest(copy)["images_written"] == 95
    assert not list((copy / "_progress").glob("*/*-of-00003.*"))


def test_the_number_of_shards_follows_from_the_size_of_the_files(archive, tmp_path):
    folder = Path(archive["image_root"])
    train = [path for camera in "124" for path in folder.glob(f"camera_{camera}/*.jpg")]
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps({"train": ["1", "2", "4"], "val": []}))
    megabytes = sum(path.stat().st_size for path in train if path.is_file()) / 1e6
    output_dir = tmp_path / "examples"
    inputs = ArchiveOptions(**archive, splits_file=str(splits))
    facts = pipeline.create_examples(
        inputs, ImageOptions(), str(output_dir), shard_megabytes=megabytes / 2.5
    )
    # Two and a half shards, rounded up to a power of two; an empty split has one empty shard.
    assert [shard["file"] for shard in facts["shards"]] == [
        *(f"train-{i:05d}-of-00004.tfrecord" for i in range(4)),
        "val-00000-of-00001.tfrecord",
    ]
    assert facts["failures"]["not_in_split"] == 40


def test_a_bare_folder_is_written_without_labels(tmp_path, capsys):
    for name in ("a/100RECNX/x.jpg", "a/101RECNX/y.jpg", "b/z.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(path)
    output_dir = tmp_path / "examples"
    options = [f"--input_folder={tmp_path / 'photos'}", f"--output_dir={output_dir}"]
    assert pipeline.main([*options, "--val_fraction=0", "--max_side=32"]) == 0
    (records,) = examples(output_dir).values()
    assert sorted(record["image/filename"][0].decode() for record in records) == [
        "a/100RECNX/x.jpg",
        "a/101RECNX/y.jpg",
        "b/z.png",
    ]
    assert {record["image/width"][0] for record in records} == {32}
    out = capsys.readouterr().out
    assert "WARNING: no image has boxes" in out and "next: train" not in out
    assert f"context-rcnn remember --examples={output_dir}" in out


def test_no_usable_image_is_a_failed_run_that_says_so(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"broken")
    options = [f"--input_folder={tmp_path / 'photos'}", f"--output_dir={tmp_path / 'examples'}"]
    assert pipeline.main(options) == 1
    assert "ERROR: no image could be used." in capsys.readouterr().out
    assert manifest(tmp_path / "examples")["failures"] == {"unreadable": 1}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max_sid=3"], "unknown flags: --max_sid"),
        (["--max_side=0"], "max_side must be at least 1"),
        (["--num_shards=0"], "must be positive"),
        (["--splits_file=none.json"], "none.json"),
        (["--output_dir=out[1]"], "without any of"),
    ],
)
def test_unusable_flags_are_an_error_before_anything_is_written(
    archive, tmp_path, capsys, flags, message
):
    assert run(archive, tmp_path, *flags) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_function_gives_the_manifest(archive, written, tmp_path):
    facts = pipeline.create_examples(
        ArchiveOptions(**archive), ImageOptions(), str(tmp_path), num_shards=3
    )
    assert facts == manifest(written)
