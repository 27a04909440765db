"""Files of the Object Detection API: banks out of them and into them."""

import json

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.memory_bank import api_files, maintenance
from context_rcnn.memory_bank.store import Bank

CAMERAS = ("north", "south")


def write_examples(path, names):
    """An example of each (camera, image id, seconds)."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for camera, image_id, seconds in names:
            example = tf.train.Example()
            fields = {"location": camera, "source_id": image_id, "encoded": f"pixels {image_id}"}
            for key, value in fields.items():
                feature = example.features.feature[f"image/{key}"]
                feature.bytes_list.value.append(value.encode())
            if seconds is not None:
                example.features.feature["image/unix_seconds"].int64_list.value.append(seconds)
            writer.write(example.SerializeToString())


def read(path):
    return [
        tf.train.Example.FromString(record.numpy()).features.feature
        for record in tf.data.TFRecordDataset(str(path))
    ]


@pytest.fixture
def bank(write_bank, make_entries):
    cameras = {
        name: make_entries(images=12, seed=seed, prefix=name, undated=2, step=60 * 60 * 24 * 5)
        for seed, name in enumerate(CAMERAS)
    }
    return Bank.open(write_bank(cameras, dtype="float32"))


@pytest.fixture
def archive(bank, tmp_path):
    """Two files of examples of all images in the bank."""
    names = []
    for camera in bank:
        for image in dict.fromkeys(camera.image_ids):
            index = camera.timeline.of_image(image)[0]
            seconds = int(camera.seconds[index]) if camera.dated[index] else None
            names.append((camera.name, image, seconds))
    folder = tmp_path / "examples"
    folder.mkdir()
    write_examples(folder / "x-00000-of-00002", names[::2])
    write_examples(folder / "x-00001-of-00002", names[1::2])
    return folder


def assert_same(found, expected, minute=False):
    assert found.cameras == expected.cameras
    for camera in expected:
        other = found.camera(camera.name).stored()
        entries = camera.stored()
        np.testing.assert_array_equal(other.features, entries.features)
        np.testing.assert_array_equal(other.image_ids, entries.image_ids)
        np.testing.assert_allclose(other.boxes, entries.boxes, atol=3e-7)
        seconds = entries.seconds // 60 * 60 if minute else entries.seconds
        np.testing.assert_array_equal(other.seconds, seconds)


def test_a_bank_comes_back_from_embeddings(bank, archive, tmp_path):
    files = api_files.find_files(str(archive))
    counts = api_files.export_examples(bank.folder, files, str(tmp_path / "out"), "embedding")
    assert counts == {"images": 24, "entries": 48}
    written = read(tmp_path / "out" / "x-00000-of-00002")
    originals = read(archive / "x-00000-of-00002")
    assert [f["image/encoded"] for f in written] == [f["image/encoded"] for f in originals]
    exported = api_files.find_files(str(tmp_path / "out"))
    manifest, counts = api_files.import_examples(
        exported, str(tmp_path / "back"), dtype="float32", extractor_hash="x-1"
    )
    assert counts == {"images": 24} and manifest.info.extractor_hash == "x-1"
    assert_same(Bank.open(tmp_path / "back"), bank)
    assert maintenance.verify(str(tmp_path / "back")) == []


def test_a_bank_comes_back_from_its_copies(bank, archive, tmp_path):
    """Every image carries its own month only; together they carry everything that is dated."""
    files = api_files.find_files(str(archive))
    counts = api_files.export_examples(bank.folder, files, str(tmp_path / "out"), "context")
    assert counts["images"] == 24 and counts["without_entries"] == 4  # the undated ones
    for features in read(tmp_path / "out" / "x-00001-of-00002"):
        length = features["image/context_feature_length"].int64_list.value[0]
        assert length == 32 + 9
        vectors = np.array(features["image/context_features"].float_list.value).reshape(-1, length)
        months = np.rint(vectors[:, -4] * 12)
        assert len(set(months)) <= 1
    back = str(tmp_path / "back")
    api_files.import_examples(api_files.find_files(str(tmp_path / "out")), back, dtype="float32")
    dated = tmp_path / "dated"
    maintenance.merge([bank.folder], str(dated))
    maintenance.delete(str(dated), undated=True)
    assert_same(Bank.open(back), Bank.open(dated), minute=True)


def test_what_cannot_be_used_is_named_and_the_rest_is_used(bank, archive, tmp_path):
    write_examples(archive / "y.tfrecord", [("nowhere", "lost", 5)])
    damaged = (archive / "x-00001-of-00002").read_bytes()
    (archive / "x-00001-of-00002").write_bytes(damaged[:-20])
    files = api_files.find_files(str(archive))
    out = tmp_path / "out"
    counts = api_files.export_examples(bank.folder, files, str(out), "embedding")
    assert (counts["images"], counts["unreadable"], counts["no_camera"]) == (24, 1, 1)
    (features,) = read(out / "y.tfrecord")
    assert features["image/embedding_count"].int64_list.value[:] == [0]
    failures = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert {(f["reason"], f["lost"]) for f in failures} == {
        ("unreadable", "image"),
        ("no_camera", "nothing"),
    }
    assert any("record 11 and all behind it" in f["detail"] for f in failures)
    plain = [str(archive / "y.tfrecord"), str(out / "x-00000-of-00002")]
    _, counts = api_files.import_examples(plain, str(tmp_path / "back"), "embedding")
    assert counts == {"images": 13, "bad_field": 1}


def test_examples_without_a_memory_do_not_make_a_bank(archive, tmp_path):
    files = api_files.find_files(str(archive))
    with pytest.raises(ValueError, match="first example has no embedding, no context"):
        api_files.import_examples(files, str(tmp_path / "back"))
    with pytest.raises(ValueError, match="nothing could be imported of 24 images"):
        api_files.import_examples(files, str(tmp_path / "back"), "context")


def test_examples_are_not_written_over(bank, archive):
    with pytest.raises(ValueError, match="give another folder"):
        api_files.export_examples(
            bank.folder, api_files.find_files(str(archive)), str(archive), "context"
        )
