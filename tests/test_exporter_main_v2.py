"""The exporter's flags, the Object Detection API's, and the verb that does the same."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from absl import app, flags
from absl.testing import flagsaver

from context_rcnn import cli, exporter_main_v2
from context_rcnn.configs import schema
from context_rcnn.data.label_map import format_label_map, read_label_map


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run of a still-image detector, with a best checkpoint."""
    from context_rcnn.tasks.detection import DetectionTask

    folder = tmp_path_factory.mktemp("run")
    (folder / "labels.pbtxt").write_text(format_label_map({"bobcat": 1, "deer": 2}))
    config = schema.load_experiment(
        "faster_rcnn_tiny",
        (),
        "task.model.image_size=[64,96],task.model.backbone.depth_multiplier=0.125,"
        f"task.label_map={folder}/labels.pbtxt,task.model.proposals.count=8",
    )
    schema.save_experiment(config, str(folder / "params.yaml"))
    for place, seed in (("", 1), ("best_checkpoint/", 2)):
        tf_keras.utils.set_random_seed(seed)
        model = DetectionTask(config.task).build_model()
        tf.train.CheckpointManager(tf.train.Checkpoint(model=model), f"{folder}/{place}", 1).save()
    return str(folder), model


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """What the verb exports."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "told.yaml").write_text("licence: CC BY 4.0\n")
    told = [f"--output_dir={folder}/model", f"--card={folder}/told.yaml"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert cli.main(["export", f"--model_dir={trained[0]}", *told]) == 0
    return folder / "model", json.loads(printed.getvalue())


@pytest.fixture
def export():
    def export(*argv):
        with flagsaver.flagsaver():
            flags.FLAGS(["main", *argv])
            exporter_main_v2.main(["main"])

    return export


@pytest.mark.whole
def test_a_run_is_exported_with_its_best_checkpoint(export, trained, tmp_path):
    folder, best = trained
    told = tmp_path.parent / "told.yaml"
    told.write_text("licence: CC BY 4.0\nmade_by: A. Person\n")
    export(
        f"--card={told}",
        f"--pipeline_config_path={folder}/params.yaml",
        f"--trained_checkpoint_dir={folder}",
        f"--output_directory={tmp_path}",
        "--input_type=float_image_tensor",
        "--config_override=task.model.detections.count=5",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint",
        "label_map.pbtxt",
        "model.json",
        "model_card.json",
        "model_card.md",
        "params.yaml",
        "saved_model",
    ]
    assert read_label_map(tmp_path / "label_map.pbtxt") == {"bobcat": 1, "deer": 2}
    model = tf.saved_model.load(str(tmp_path / "saved_model"))
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 64, 96, 3)).round().astype(np.float32)
    found = model(tf.constant(pixels))
    assert found["detection_boxes"].shape == (2, 5, 4)
    expected = best(pixels, tf.constant([[64.0, 96.0]] * 2), training=False)
    there = expected["detection_scores"][:, :5] >= 0
    np.testing.assert_allclose(
        found["detection_scores"],
        np.where(there, expected["detection_scores"][:, :5], 0),
        rtol=1e-5,
        atol=1e-4,
    )
    assert json.loads((tmp_path / "model.json").read_text())["input_type"] == "float_image_tensor"


@pytest.mark.whole
def test_the_verb_exports_the_same(exported, tmp_path, capsys):
    first, description = exported
    assert description == json.loads((first / "model.json").read_text())
    # What was exported is the folder of a run again, for those who say where the checkpoint is.
    status = cli.main(
        [
            "export",
            f"--model_dir={first}",
            f"--checkpoint={first}/checkpoint",
            f"--output_dir={tmp_path}/second",
            "--input_type=tf_example",
        ]
    )
    assert status == 0
    assert json.loads(capsys.readouterr().out)["hash"] == description["hash"]


@pytest.mark.whole
def test_doctor_shows_the_card_of_an_export_and_what_is_wrong_with_it(exported, tmp_path, capsys):
    model = shutil.copytree(exported[0], tmp_path / "model")
    assert cli.main(["doctor", f"--model={model}"]) == 0
    out = capsys.readouterr().out
    assert (model / "model_card.md").read_text() in out
    for line in ("- licence: CC BY 4.0", "- made by: unknown", "| 1 | bobcat | unknown |"):
        assert line in out
    assert "checkpoint: best_checkpoint/ckpt-1" in out
    assert "it detects in an image" in out and "All is well." in out

    (model / "label_map.pbtxt").write_text(format_label_map({"bobcat": 1, "elk": 2}))
    with (model / "params.yaml").open("a") as file:
        file.write("# changed\n")
    assert cli.main(["doctor", f"--model={model}"]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM: label_map.pbtxt: class 2 is 'elk', in model.json 'deer'" in out
    assert "PROBLEM: params.yaml is not the file that model_card.json has the hash of" in out

    (model / "model_card.json").unlink()
    (model / "saved_model" / "saved_model.pb").write_bytes(b"")
    assert cli.main(["doctor", f"--model={model}"]) == 2
    assert "SavedModel cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    "files, message",
    [
        (None, "is not there"),
        ([], "no model.json; it holds nothing"),
        (["a.txt", "b.txt"], "no model.json; it holds a.txt, b.txt"),
        (["params.yaml"], "this is a training run: make a model of it with `context-rcnn export`"),
        (["extractor.json", "saved_model.pb"], "this is an extractor"),
        (["saved_model.pb"], "name the folder above it"),
        (["model.json"], "model.json is damaged"),
    ],
)
def test_doctor_says_what_a_folder_is_that_is_no_export(tmp_path, capsys, files, message):
    folder = tmp_path / "x"
    for name in files or ():
        folder.mkdir(exist_ok=True)
        (folder / name).touch()
    if files == []:
        folder.mkdir()
    assert cli.main(["doctor", f"--model={folder}"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.whole
def test_what_is_wrong_is_said_without_a_trace(export, trained, tmp_path, capsys):
    folder, _ = trained
    with pytest.raises(app.UsageError, match="--output_directory is required"):
        export(f"--trained_checkpoint_dir={folder}")
    to = f"--output_directory={tmp_path}/export"
    with pytest.raises(SystemExit, match="error: .*params.yaml: no such config file"):
        export(f"--trained_checkpoint_dir={tmp_path}", to)
    with pytest.raises(SystemExit, match="--use_side_inputs: this detector attends to no memory"):
        export(f"--trained_checkpoint_dir={folder}", to, "--use_side_inputs=True")
    with pytest.raises(SystemExit, match="--card nowhere.yaml: no such file"):
        export(f"--trained_checkpoint_dir={folder}", to, "--card=nowhere.yaml")
    with pytest.raises(SystemExit, match="--input_type must be one of image_tensor"):
        export(f"--trained_checkpoint_dir={folder}", to, "--input_type=images")
    assert not (tmp_path / "export").exists()
    status = cli.main(["export", f"--model_dir={tmp_path}", f"--output_dir={tmp_path}/export"])
    assert status == 2 and "not the folder of a run" in capsys.readouterr().err
