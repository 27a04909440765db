"""A toy extractor, a small archive, and a storage that is not the disk."""

import json
import os
from urllib.parse import urlsplit

import apache_beam as beam
import pytest
import tensorflow as tf
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem
from apache_beam.options.value_provider import RuntimeValueProvider


@pytest.fixture(scope="session")
def extractor(tmp_path_factory):
    """A real SavedModel with the extractor's contract, small and made of plain TensorFlow: five
    boxes an image, features that are the mean colours around them."""

    class Toy(tf.Module):
        def __init__(self):
            super().__init__()
            self.hash = tf.Variable("toy-1", trainable=False)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def extract(self, encoded):
            def one(data):
                image = tf.io.decode_image(data, channels=3, expand_animations=False)
                image.set_shape([None, None, 3])
                return tf.image.resize(image, [5, 4]) / 255.0

            rows = tf.map_fn(one, encoded, fn_output_signature=tf.TensorSpec([5, 4, 3], tf.float32))
            features = tf.reshape(rows, [-1, 5, 12])
            scores = tf.sort(tf.reduce_mean(features, axis=2), axis=1, direction="DESCENDING")
            top = tf.range(5, dtype=tf.float32) / 5.0
            boxes = tf.stack([top, tf.zeros(5), top + 0.2, tf.ones(5)], axis=1)
            batch = tf.shape(encoded)[0]
            # An image that is nearly white makes this extractor fall ill.
            sick = tf.reduce_mean(features, axis=[1, 2], keepdims=True) > 0.97
            return {
                "features": tf.where(sick, float("nan"), features),
                "boxes": tf.tile(boxes[None], [batch, 1, 1]),
                "scores": scores,
                "classes": tf.ones([batch, 5], tf.int32),
            }

    folder = tmp_path_factory.mktemp("extractor")
    module = Toy()
    tf.saved_model.save(module, str(folder), signatures={"extract": module.extract})
    description = {"hash": "toy-1", "source": "detections", "depth": 12}
    (folder / "extractor.json").write_text(json.dumps(description))
    return str(folder)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """Three simulated cameras."""
    from context_rcnn.simulation import simulate_camera_traps

    folder = tmp_path_factory.mktemp("simulated") / "archive"
    simulate_camera_traps(folder, cameras=3, days=3, seed=1)
    return folder


@pytest.fixture(scope="session")
def archive(simulated, tmp_path_factory):
    """Their examples, in several files."""
    from beam_pipelines import create_examples

    folder = tmp_path_factory.mktemp("examples")
    create_examples.main(
        [
            f"--input_json={simulated}/camera_traps.json",
            f"--image_root={simulated}/images",
            f"--output_dir={folder}",
            "--num_shards=2",
        ]
    )
    return folder


ROOTS: dict[str, str] = {}
"""Folders of the disk that hold the boxes, by name."""


class BoxFileSystem(LocalFileSystem):
    """Files of a box: a rename over a file fails, as on HDFS; there are no folders, as on GCS; who
    asks has to say who they are, as on S3."""

    def __init__(self, pipeline_options):
        super().__init__(pipeline_options)
        if pipeline_options is None:
            raise ValueError("Must provide one of client or options")

    @classmethod
    def scheme(cls):
        return "box"

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path):
        head, _, tail = path.rpartition("/")
        return head, tail

    def has_dirs(self):
        return False

    def mkdirs(self, path):
        raise NotImplementedError

    def _list(self, prefix):
        name = urlsplit(prefix).netloc
        root = ROOTS[name]
        for folder, _, files in os.walk(root):
            for file in files:
                path = os.path.join(folder, file)
                url = f"box://{name}/{os.path.relpath(path, root)}"
                if url.startswith(prefix):
                    yield FileMetadata(url, os.path.getsize(path), os.path.getmtime(path))

    def create(self, path, *args, **kwargs):
        return super().create(_on_disk(path), *args, **kwargs)

    def open(self, path, *args, **kwargs):
        return super().open(_on_disk(path), *args, **kwargs)

    def exists(self, path):
        return os.path.isfile(_on_disk(path))

    def metadata(self, path):
        status = os.stat(_on_disk(path))
        return FileMetadata(path, status.st_size, status.st_mtime)

    def rename(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            if self.exists(target):
                raise OSError(f"{target} is there already")
            os.rename(_on_disk(source), _on_disk(target))

    def delete(self, paths):
        for path in paths:
            os.remove(_on_disk(path))


def _on_disk(url):
    parts = urlsplit(url)
    return os.path.join(ROOTS[parts.netloc], parts.path.lstrip("/"))


@pytest.fixture
def box(tmp_path, monkeypatch):
    """`box://b`, and the folder of the disk that holds it."""
    folder = tmp_path / "the box"
    folder.mkdir()
    ROOTS["b"] = str(folder)
    # As in a process that has run no pipeline yet.
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)
    monkeypatch.setattr(RuntimeValueProvider, "runtime_options", None)
    yield "box://b", folder
    del ROOTS["b"]


@pytest.fixture
def counters(monkeypatch):
    """What the last pipeline has counted, by name."""
    ended, leave = [], beam.Pipeline.__exit__

    def keep(self, *error):
        done = leave(self, *error)
        ended.append(self.result)
        return done

    monkeypatch.setattr(beam.Pipeline, "__exit__", keep)

    def read():
        found = ended[-1].metrics().query()["counters"]
        return {counter.key.metric.name: counter.committed for counter in found}

    return read
