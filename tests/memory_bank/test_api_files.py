"""Files of the Object Detection API: banks out of them and into them."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from context_rcnn.data.examples import parse_example
from context_rcnn.data.records import LabelState
from context_rcnn.data.timestamps import format_timestamp
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


def picture(width, height):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 40)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_sequences(path, bank, *, keep_ids=False, boxes=1):
    """As add_context_to_examples writes them: all images of a camera, every third left out."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for camera in bank:
            names = list(dict.fromkeys(camera.image_ids[camera.dated]))
            remembered = [name for i, name in enumerate(names) if i % 3 != 2]
            indices = np.concatenate([np.arange(*camera.timeline.of_image(n)) for n in remembered])
            entries = camera.entries(indices, "released")
            sequence = tf.train.SequenceExample()
            context = sequence.context.feature
            context["image/context_features"].float_list.value.extend(entries.ravel())
            context["image/context_feature_length"].int64_list.value.append(entries.shape[1])
            context["image/height"].int64_list.value.append(7)  # of the first image only
            if keep_ids:
                context["image/context_features_image_id_list"].bytes_list.value.extend(
                    name.encode() for name in remembered
                )
            lists = sequence.feature_lists.feature_list
            for i, name in enumerate(names):
                seconds = int(camera.seconds[camera.timeline.of_image(name)[0]])
                date = format_timestamp(seconds)
                pixels = b"no image" if i == 4 else picture(40 + i, 30)
                for key, value in {
                    "encoded": pixels,
                    "source_id": name.encode(),
                    "location": camera.name.encode(),
                    "date_captured": date.encode(),
                }.items():
                    lists[f"image/{key}"].feature.add().bytes_list.value.append(value)
                place = remembered.index(name) if name in remembered else 2001
                lists["image/context_features_idx"].feature.add().int64_list.value.append(place)
                has = boxes if i % 2 == 0 else 0
                for edge, value in {"ymin": 0.25, "xmin": 0.5, "ymax": 0.75, "xmax": 1.0}.items():
                    feature = lists[f"region/bbox/{edge}"].feature.add()
                    feature.float_list.value.extend([value] * has)
                lists["region/label/index"].feature.add().int64_list.value.extend([3] * has)
                lists["region/label/string"].feature.add().bytes_list.value.extend([b"oryx"] * has)
            writer.write(sequence.SerializeToString())


@pytest.mark.parametrize("keep_ids", [False, True])
def test_a_bank_comes_out_of_sequence_examples(bank, tmp_path, keep_ids):
    write_sequences(tmp_path / "x.record", bank, keep_ids=keep_ids)
    files, back = [str(tmp_path / "x.record")], str(tmp_path / "back")
    _, counts = api_files.import_examples(files, back, dtype="float32")
    assert counts == {"images": 20}
    for camera in bank:
        names = list(dict.fromkeys(camera.image_ids[camera.dated]))
        kept = np.isin(camera.image_ids, [name for i, name in enumerate(names) if i % 3 != 2])
        entries = Bank.open(back).camera(camera.name)
        # Ids and times are those of the images: the times to the second.
        np.testing.assert_array_equal(entries.image_ids, camera.image_ids[kept])
        np.testing.assert_array_equal(entries.seconds, camera.seconds[kept])
        np.testing.assert_array_equal(
            entries.features.read(np.arange(len(entries))),
            camera.features.read(np.flatnonzero(kept)),
        )


def test_what_a_clip_does_not_name_has_one_name_in_all_clips(bank, tmp_path):
    """Of a month cut into clips each has the whole context, but knows its own images only."""
    write_sequences(tmp_path / "whole.record", bank)
    with tf.io.TFRecordWriter(str(tmp_path / "clips.record")) as writer:
        for record in tf.data.TFRecordDataset(str(tmp_path / "whole.record")):
            for half in (slice(0, 5), slice(5, 10)):
                clip = tf.train.SequenceExample.FromString(record.numpy())
                for features in clip.feature_lists.feature_list.values():
                    kept = list(features.feature)[half]
                    del features.feature[:]
                    features.feature.extend(kept)
                writer.write(clip.SerializeToString())
    for name in ("whole", "clips"):
        files = [str(tmp_path / f"{name}.record")]
        api_files.import_examples(files, str(tmp_path / name), dtype="float32")
    whole, clips = (Bank.open(tmp_path / name) for name in ("whole", "clips"))
    for camera in whole:
        other = clips.camera(camera.name)
        assert len(other) == len(camera)
        assert {name.split()[0] for name in other.image_ids} == {"entry"}
        everything = [np.sort(c.features.read(np.arange(len(c))), axis=0) for c in (camera, other)]
        np.testing.assert_array_equal(*everything)


@pytest.mark.parametrize("empty, state", [(False, LabelState.UNLABELLED), (True, LabelState.EMPTY)])
def test_images_come_out_of_sequence_examples(bank, tmp_path, empty, state):
    write_sequences(tmp_path / "x.record", bank)
    _, counts = api_files.import_examples(
        [str(tmp_path / "x.record")],
        str(tmp_path / "back"),
        images_dir=str(tmp_path / "images"),
        unboxed_are_empty=empty,
    )
    assert counts == {"images": 20, "images_written": 18, "unreadable": 2}
    (failure, _) = (tmp_path / "back" / "failures.jsonl").read_text().splitlines()
    assert "cannot identify image" in json.loads(failure)["detail"]
    records = list(tf.data.TFRecordDataset(str(tmp_path / "images" / "x.record")))
    parsed = [parse_example(record) for record in records]
    camera = bank.camera("north")
    names = list(dict.fromkeys(camera.image_ids[camera.dated]))
    del names[4]
    assert [p["image_id"].numpy().decode() for p in parsed[:9]] == names
    for name, example in zip(names, parsed, strict=False):
        assert int(example["seconds"]) == camera.seconds[camera.timeline.of_image(name)[0]]
        assert example["camera"] == b"north" and int(example["height"]) == 30
    assert [int(p["width"]) for p in parsed[:3]] == [40, 41, 42]
    assert [int(p["label_state"]) for p in parsed[:2]] == [LabelState.BOXES, state]
    np.testing.assert_array_equal(parsed[0]["boxes"], [[0.25, 0.5, 0.75, 1.0]])
    np.testing.assert_array_equal(parsed[0]["classes"], [3])
