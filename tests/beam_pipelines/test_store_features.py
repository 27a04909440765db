"""A store of every image's proposals and labelled boxes, by whatever can propose."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from beam_pipelines import store_features as pipeline
from context_rcnn.data.examples import parse_example
from context_rcnn.memory_bank import maintenance
from context_rcnn.memory_bank.encoding import flip_boxes
from context_rcnn.memory_bank.stored_images import ImageStore

PROPOSALS, LABELLED, DEPTH = 4, 1, 3


@pytest.fixture(scope="module")
def proposer(tmp_path_factory):
    """A SavedModel that is no detector of ours: mean colours of four fixed boxes, and of those that
    are labelled, one in a call."""

    class Colours(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.string),
                tf.TensorSpec([None, LABELLED, 4], tf.float32),
                tf.TensorSpec([], tf.bool),
            ]
        )
        def propose(self, encoded, labelled_boxes, mirrored):
            def one(data):
                image = tf.io.decode_image(data, channels=3, expand_animations=False)
                image.set_shape([None, None, 3])
                image = tf.image.resize(image, [16, 16]) / 255.0
                return tf.cond(mirrored, lambda: image[:, ::-1], lambda: image)

            images = tf.map_fn(one, encoded, fn_output_signature=tf.TensorSpec([16, 16, 3]))
            batch = tf.shape(encoded)[0]
            top = tf.range(PROPOSALS, dtype=tf.float32) / PROPOSALS
            boxes = tf.stack([top, top * 0, top + 0.25, top * 0 + 0.5], axis=1)
            boxes = tf.tile(boxes[None], [batch, 1, 1])

            def colours(boxes):
                count = boxes.shape[1]
                crops = tf.image.crop_and_resize(
                    images, tf.reshape(boxes, [-1, 4]), tf.repeat(tf.range(batch), count), [4, 4]
                )
                return tf.reshape(tf.reduce_mean(crops, axis=[1, 2]), [-1, count, DEPTH])

            features = colours(boxes)
            # An image that is nearly white is seen to hold nothing; another makes it fall ill.
            light = tf.reduce_mean(images, axis=[1, 2, 3])
            scores = tf.constant([0.9, 0.8, 0.5, 0.0])[None] * tf.ones([batch, 1])
            scores = tf.where(light[:, None] > 0.97, 0.0, scores)
            sick = light[:, None, None] < 0.01
            return {
                "features": tf.where(sick, float("nan"), features),
                "boxes": boxes,
                "scores": scores,
                "labelled_features": colours(labelled_boxes),
            }

    folder = tmp_path_factory.mktemp("proposer")
    tf.saved_model.save(Colours(), str(folder))
    description = {"hash": "colours-1", "depth": DEPTH, "labelled": LABELLED}
    (folder / "features.json").write_text(json.dumps(description))
    return str(folder)


def store(examples, proposer, folder, **options):
    options = {"num_shards": 2, "dtype": "float32"} | options
    return pipeline.store_features(str(examples), proposer, str(folder), **options)


def rows_of(folder):
    files = sorted(map(str, pathlib.Path(folder).glob("*.tfrecord")))
    return list(tf.data.TFRecordDataset(files).map(parse_example).as_numpy_iterator())


def bytes_of(folder):
    files = [path for path in pathlib.Path(folder).glob("*") if path.is_file()]
    files += (pathlib.Path(folder) / "labels").glob("*")
    return {path.name: path.read_bytes() for path in files}


def test_every_image_and_its_mirror_image_are_stored(archive, proposer, tmp_path):
    store(archive, proposer, tmp_path / "store", mirrored=True)
    found = ImageStore(tmp_path / "store")
    module, rows = tf.saved_model.load(proposer), rows_of(archive)
    assert len(found.bank.cameras) == 2 * len(rows)
    assert max(len(row["boxes"]) for row in rows) > LABELLED
    rows = sorted(rows, key=lambda row: -len(row["boxes"]))[:: len(rows) // 12]
    for row in rows:
        for mirrored in (False, True):
            seen = found.read(row["image_id"].decode(), mirrored)
            boxes = flip_boxes(row["boxes"]) if mirrored else row["boxes"]
            given = tf.constant(row["image_bytes"])[None], tf.constant(mirrored)
            one = module.propose(given[0], tf.zeros([1, LABELLED, 4]), given[1])
            proposed, scores, features = seen.part(labelled=False)
            np.testing.assert_allclose(proposed, one["boxes"][0, :3], atol=1e-6)
            np.testing.assert_allclose(scores, [0.9, 0.8, 0.5], atol=1e-6)
            np.testing.assert_allclose(features, one["features"][0, :3], atol=1e-6)
            known, _, of_labelled = seen.part(labelled=True)
            np.testing.assert_array_equal(known, boxes)
            np.testing.assert_array_equal(seen.classes[3:], row["classes"])
            for box, feature in zip(boxes, of_labelled, strict=True):
                alone = module.propose(given[0], tf.constant(box[None, None]), given[1])
                np.testing.assert_allclose(feature, alone["labelled_features"][0, 0], atol=1e-6)
        assert seen.seconds == row["seconds"]
    assert maintenance.verify(str(tmp_path / "store")) == []


def test_labels_are_kept_beside_without_images(archive, proposer, tmp_path):
    store(archive, proposer, tmp_path / "store")
    before, after = rows_of(archive), rows_of(tmp_path / "store" / "labels")
    assert len(before) == len(after) and not any(row["image_bytes"] for row in after)
    for a, b in zip(before, after, strict=True):
        for name in set(a) - {"image_bytes"}:
            np.testing.assert_array_equal(a[name], b[name], name)
    for name in ("label_map.pbtxt", "manifest.json"):
        kept = tmp_path / "store" / "labels" / name
        assert kept.read_bytes() == (pathlib.Path(archive) / name).read_bytes()


def test_only_what_has_changed_is_seen_again(archive, proposer, tmp_path, monkeypatch):
    examples = tmp_path / "examples"
    shutil.copytree(archive, examples)
    held_back = sorted(examples.glob("*.tfrecord"))[0]
    held_back.rename(tmp_path / held_back.name)
    first = store(examples, proposer, tmp_path / "store")
    (tmp_path / held_back.name).rename(held_back)
    extract, copy, seen = pipeline.StoreImages._extract, pipeline._copy_labels, []

    def extracting(self, part, folder):
        seen.append(part.piece.title)
        return extract(self, part, folder)

    def copying(source, path):
        seen.append(pathlib.Path(source).name)
        return copy(source, path)

    monkeypatch.setattr(pipeline.StoreImages, "_extract", extracting)
    monkeypatch.setattr(pipeline, "_copy_labels", copying)
    second = store(examples, proposer, tmp_path / "store")
    assert seen == [held_back.name] * 2
    assert second.totals()["images"] > first.totals()["images"]
    whole = store(archive, proposer, tmp_path / "whole", batch_size=7)
    assert whole == second and bytes_of(tmp_path / "whole") == bytes_of(tmp_path / "store")


def write_example(writer, name, colour):
    image = tf.io.encode_png(tf.fill([8, 8, 3], tf.constant(colour, tf.uint8))).numpy()
    texts = {"image/encoded": image, "image/source_id": name.encode(), "image/location": b"c"}
    feature = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))
        for key, text in texts.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    writer.write(example.SerializeToString())


def test_what_cannot_be_seen_is_named_and_what_holds_nothing_is_there(proposer, tmp_path):
    path = tmp_path / "few.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, colour in (("grey", 99), ("white", 255), ("black", 0)):
            write_example(writer, name, colour)
    store(path, proposer, tmp_path / "store")
    found = ImageStore(tmp_path / "store")
    assert len(found.read("grey").scores) == 3 and not len(found.read("white").scores)
    assert sorted(found.bank.cameras) == ["grey", "white"]
    lines = (tmp_path / "store" / "failures.jsonl").read_text().splitlines()
    (failure,) = map(json.loads, lines)
    assert (failure["image_id"], failure["reason"]) == ("black", "not_finite")


def test_what_does_not_fit_is_refused(archive, proposer, extractor, tmp_path, capsys):
    with pytest.raises(ValueError, match="does not fill stores: there is no .*features.json"):
        store(archive, extractor, tmp_path / "store")
    twice = f"{archive}/*.tfrecord,{tmp_path}/*.tfrecord"
    name = sorted(pathlib.Path(archive).glob("*.tfrecord"))[0].name
    shutil.copy(pathlib.Path(archive) / name, tmp_path / name)
    with pytest.raises(ValueError, match=f"2 files are named {name}"):
        store(twice, proposer, tmp_path / "store")
    other = tmp_path / "other"
    shutil.copytree(proposer, other)
    (other / "features.json").write_text('{"hash": "colours-2", "depth": 3, "labelled": 1}')
    flags = [f"--examples={tmp_path}/*.tfrecord", f"--output_dir={tmp_path}/store"]
    assert pipeline.main([*flags, f"--extractor={proposer}"]) == 0
    assert "numbers" in capsys.readouterr().out
    assert pipeline.main([*flags, f"--extractor={other}"]) == 2
    assert "made by extractor colours-1" in capsys.readouterr().err
