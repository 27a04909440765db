"""A tiny Context R-CNN as a training run leaves it, its extractor, and its export."""

import functools
import io
import json
import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from PIL import Image

from context_rcnn.configs import schema
from context_rcnn.data.label_map import format_label_map

SIZE = (64, 96)
CLASSES = {1: "bobcat", 2: "coyote", 3: "deer"}


def _spread(model):
    """Makes weights large enough that detections are not all alike."""
    for variable in model.trainable_variables:
        if any(part in variable.name for part in ("rpn-", "classes/kernel", "boxes/kernel")):
            variable.assign(tf.random.normal(variable.shape, stddev=0.1))
    return model


@pytest.fixture(scope="session")
def photographs():
    """Three encoded images of different sizes and formats."""
    rng = np.random.default_rng(1)
    encoded = []
    for (width, height), kind in (((120, 80), "JPEG"), ((50, 90), "PNG"), ((96, 64), "JPEG")):
        buffer = io.BytesIO()
        pixels = rng.integers(0, 255, (height // 5, width // 5, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((width, height)).save(buffer, kind)
        encoded.append(buffer.getvalue())
    return encoded


@pytest.fixture(scope="session")
def make_run(tmp_path_factory):
    """Writes the folder of a run with random weights: `make_run(**changes of task)`."""
    from context_rcnn.tasks.detection import DetectionTask

    labels = tmp_path_factory.mktemp("labels") / "label_map.pbtxt"
    labels.write_text(format_label_map({name: number for number, name in CLASSES.items()}))

    def make(temporal=None, **task):
        config = schema.load_experiment("faster_rcnn_tiny")
        settings = {
            "label_map": str(labels),
            "model": {
                "image_size": list(SIZE),
                "keep_aspect_ratio": True,
                "backbone": {"depth_multiplier": 0.125},
                "proposals": {"count": 12},
                "detections": {"count": 40},  # more than there can be: there is padding
            },
            **task,
        }
        config.task.override(settings | ({"temporal": temporal} if temporal else {}))
        tf_keras.utils.set_random_seed(3)
        model = _spread(DetectionTask(config.task).build_model())
        folder = str(tmp_path_factory.mktemp("run"))
        schema.save_experiment(config, f"{folder}/params.yaml")
        tf.train.Checkpoint(model=model).save(f"{folder}/ckpt")
        return types.SimpleNamespace(folder=folder, config=config, model=model)

    return make


@pytest.fixture(scope="session")
def frozen(make_run, tmp_path_factory):
    """The extractor of another, single-frame run; it stretches its images."""
    from context_rcnn.export.extractor import Extractor, save_extractor

    folder = str(tmp_path_factory.mktemp("extractor"))
    extractor = Extractor(
        make_run().model,
        image_size=SIZE,
        keep_aspect_ratio=False,
        source="detections",
        class_names=CLASSES,
        max_boxes=2,
    )
    save_extractor(extractor, folder)
    return types.SimpleNamespace(folder=folder, extractor=extractor, **extractor.description)


@pytest.fixture(scope="session")
def run(make_run, frozen):
    """A run with long-term memory in two heads, and short-term attention."""
    return make_run(
        {
            "type": "context_rcnn",
            "context_rcnn": {
                "depth": 16,
                "short_term": {"window": 3},
                "long_term": {
                    "heads": 2,
                    "entry_size": frozen.depth + 9,
                    "extractor": frozen.hash,
                },
            },
        },
        memory={"max_entries": 4, "horizon": "day"},
    )


@pytest.fixture(scope="session")
def export(run, frozen, once):
    """Folder and description of its export."""
    from context_rcnn.export.export import export_run

    def make(folder):
        options = {"extractor": frozen.folder, "input_type": "encoded_image_string_tensor"}
        export_run(run.folder, str(folder), **options)

    folder = once("export", make)
    description = json.loads((folder / "model.json").read_text())
    return types.SimpleNamespace(folder=str(folder), description=description)


@functools.cache
def _load(folder):
    from context_rcnn.export.exported import ExportedModel

    return ExportedModel(folder)


@pytest.fixture(scope="session")
def loaded(export):
    """The exported model on NumPy arrays."""
    return _load(export.folder)


@pytest.fixture(scope="session")
def entries(frozen):
    """Memories of three images [3, 5, entry size], of which 5, 0 and 2 entries count."""
    features = np.random.default_rng(4).normal(size=(3, 5, frozen.depth + 9)).astype(np.float32)
    features[2, 2:] = np.nan
    return features, np.array([5, 0, 2], np.int32)
