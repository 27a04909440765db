"""A model of tracklets, exported and asked by TensorFlow alone."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn import cli
from context_rcnn.configs import schema
from context_rcnn.export.embedder import ExportedEmbedder
from context_rcnn.export.export import export_run
from context_rcnn.models.psta import build_psta
from tests.tolerance import assert_close

OVERRIDES = (
    "task.model.image_size=[32,16],task.model.frames=2,task.model.stages=1,task.model.channels=8,"
    "task.model.middle=4,task.model.embedding=4,task.model.backbone.depth_multiplier=.0625,"
    "task.model.num_identities=3"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run as training leaves it, and its model."""
    folder = tmp_path_factory.mktemp("reid") / "run"
    config = schema.load_experiment("psta_tiny", (), OVERRIDES)
    model = build_psta(config.task.model, 3)
    folder.mkdir()
    schema.save_experiment(config, str(folder / "params.yaml"))
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(folder), 1)
    manager.save(checkpoint_number=7)
    return folder, model


@pytest.fixture(scope="module")
def exported(run):
    folder = run[0].parent / "export"
    assert cli.main(["export", f"--model_dir={run[0]}", f"--output_dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def clips():
    return np.random.default_rng(0).integers(0, 256, [3, 2, 32, 16, 3]).astype(np.uint8)


@pytest.mark.whole
def test_the_export_embeds_as_the_run_does(run, exported, clips):
    model = ExportedEmbedder(exported)
    assert model.clip_shape == (2, 32, 16, 3) and model.description["depth"] == 8
    assert_close(model.embed(clips), run[1].embed(clips))
    assert_close(model.activations(clips), run[1].activations(clips))
    assert_close(model.embed(clips[:1]), model.embed(clips)[:1])


ALONE = """
import json, sys
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
clips = np.load(sys.argv[2])
found = model.signatures["serving_default"](clips=tf.constant(clips))["features"]
assert "context_rcnn" not in sys.modules and "tf_keras" not in sys.modules
print(json.dumps(found.numpy().tolist()))
"""


@pytest.mark.whole
def test_tensorflow_alone_runs_the_export(run, exported, clips, tmp_path):
    np.save(tmp_path / "clips.npy", clips)
    arguments = [str(exported / "saved_model"), str(tmp_path / "clips.npy")]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": ""}
    del environment["TF_USE_LEGACY_KERAS"]  # which only this package needs
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert_close(np.array(found), run[1].embed(clips))


@pytest.mark.whole
def test_another_clip_than_the_models_is_refused(exported, clips):
    model = ExportedEmbedder(exported)
    for wrong in (clips[:, :, :16], clips.astype(np.float32)):
        with pytest.raises(ValueError, match=r"expected uint8 \[clips, 2, 32, 16, 3\]"):
            model.embed(wrong)


@pytest.mark.whole
def test_a_folder_of_another_kind_is_refused(exported, tmp_path):
    with pytest.raises(ValueError, match="is not an exported model"):
        ExportedEmbedder(tmp_path)
    (tmp_path / "model.json").write_text('{"format": "context-rcnn-model"}')
    with pytest.raises(ValueError, match="is this a model of re-identification"):
        ExportedEmbedder(tmp_path)
    description = json.loads((exported / "model.json").read_text()) | {"hash": "other"}
    (tmp_path / "model.json").write_text(json.dumps(description))
    (tmp_path / "saved_model").symlink_to(exported / "saved_model")
    with pytest.raises(ValueError, match="is not that of the model in saved_model"):
        ExportedEmbedder(tmp_path)


@pytest.mark.whole
def test_options_of_detectors_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match="--extractor: a model of re-identification has no such"):
        export_run(str(run[0]), str(tmp_path / "export"), extractor="somewhere")
