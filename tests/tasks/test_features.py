"""Learning on stored images is learning on images, with all frozen but memory and predictor."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import yaml

from beam_pipelines import store_features
from context_rcnn.configs import schema
from context_rcnn.data.examples import parse_example
from context_rcnn.memory_bank.stored_images import ImageStore
from context_rcnn.tasks.detection import DetectionTask
from context_rcnn.tasks.features import StoredInput
from context_rcnn.tasks.loading import load_run
from tests.tasks import eagerly
from tests.tasks.test_context_rcnn import write_bank
from tests.tolerance import SCORES
from tpu import compile_check

SAME = 1e-5
RFCN = {"backbone": {"kind": "rfcn"}, "boxes": {"class_agnostic": True}}
GIVEN = {"proposals": {"source": "given"}}
FPN = {"backbone": {"kind": "fpn"}, "boxes": {"hidden": [8]}}
SPLITS = {"train_data": "train", "validation_data": "val"}
FROZEN = ["backbone", "first_stage", "box_head"]


def save_run(settings, folder):
    """The folder of a run: nobody trained it, but its batch norms know its data, and its scores are
    spread."""
    folder.mkdir()
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    config = schema.load_experiment(config_files=[str(folder / "settings.yaml")])
    tf_keras.utils.set_random_seed(3)
    task = DetectionTask(config.task, str(folder))
    model = task.build_model()
    rng = np.random.default_rng(3)
    for variable in model.variables:
        if any(part in variable.name for part in ("rpn-", "classes/kernel", "boxes/kernel")):
            variable.assign(rng.normal(scale=0.1, size=variable.shape))
    for batch in task.build_inputs(config.task.train_data).take(6):
        task.gradients(batch, model, tf_keras.optimizers.SGD())
    schema.save_experiment(config, str(folder / "params.yaml"))
    task.save_run_files()
    tf.train.Checkpoint(model=model).save(str(folder / "ckpt"))
    return str(folder)


@pytest.fixture(scope="module")
def settings(settings, examples_dir):
    """Half of the data are enough."""
    settings = yaml.safe_load(yaml.safe_dump(settings))
    for name, split in SPLITS.items():
        settings["task"][name]["input_path"] = f"{examples_dir}/{split}-00000-*"
    settings["task"]["model"]["backbone"]["norm_momentum"] = 0.5
    settings["task"]["model"]["image_size"] = [64, 128]  # boxes as fractions are exact
    settings["task"]["losses"] = {"weight_decay": 0.0}  # it would drown all other gradients
    return settings


@pytest.fixture(scope="module")
def still(settings, tmp_path_factory):
    return save_run(settings, tmp_path_factory.mktemp("runs") / "still")


@pytest.fixture(scope="module")
def store(still, examples_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features") / "store"
    flags = [f"--model_dir={still}", f"--examples={examples_dir}/*-00000-*"]
    flags += [f"--output_dir={folder}", "--dtype=float32", "--mirrored", "--num_shards=2"]
    assert store_features.main([*flags, "--batch_size=16"]) == 0
    return folder


@pytest.fixture(scope="module")
def context(settings, still, examples_dir, tmp_path_factory):
    """Settings of all three attentions on images, with all frozen but memory and predictor."""
    folder = tmp_path_factory.mktemp("context")
    bank = write_bank(folder / "bank", examples_dir, "first")
    settings = yaml.safe_load(yaml.safe_dump(settings))
    settings["task"] |= {
        "temporal": {
            "type": "context_rcnn",
            "context_rcnn": {
                "depth": 8,
                "initial_output": 1.0,
                "short_term": {"window": 3, "boxes": 4},
            },
        },
        "clip": {"frames": 3},
        "memory": {"bank": bank, "max_entries": 20},
        "init_checkpoint": still,
        "init_checkpoint_modules": "detector",
        "freeze": FROZEN,
    }
    settings["task"]["train_data"]["global_batch_size"] = 2
    settings["trainer"] |= {"train_steps": 4, "validation_interval": 4}
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    return str(folder / "settings.yaml")


def started(path, **changes):
    """A task that is about to learn, and its model."""
    config = schema.load_experiment(config_files=[path])
    task = DetectionTask(config.task.replace(**changes))
    tf_keras.utils.set_random_seed(1)
    model = task.build_model()
    task.initialize(model)
    rng = np.random.default_rng(1)
    for variable in model.box_memory.trainable_variables:
        if len(variable.shape) > 1:  # so that it is heard
            variable.assign(rng.normal(scale=0.3, size=variable.shape))
    return task, model


def assert_learns_the_same(on_images, on_features, steps, share=SAME):
    """Losses and gradients of the same batches, each read by its own task.

    Gradients to a share of the largest of them: some multiply rounding, as those of logarithms of
    distances and of batch statistics of a few rows do.
    """
    sides = (on_images, on_features)
    read = [iter(task.build_inputs(task.task_config.train_data)) for task, _ in sides]
    names = [variable.name for variable in on_images[1].trainable_variables]
    for number in range(steps):
        batches = [next(batch) for batch in read]
        np.testing.assert_array_equal(*(batch["key"] for batch in batches))
        found = []
        for (task, model), batch in zip(sides, batches, strict=True):
            tf.random.set_seed(number)  # of the samples that are drawn
            found.append(task.gradients(batch, model, tf_keras.optimizers.SGD()))
        (expected, losses), (gradients, others) = found
        assert set(losses) == set(others)
        apart = SAME * float(losses["total_loss"])
        for name, value in losses.items():
            np.testing.assert_allclose(others[name], value, rtol=0, atol=apart, err_msg=name)
        assert len(names) == len(expected) == len(gradients)
        sizes = [float(tf.reduce_max(tf.abs(value))) for value in expected]
        # Small gradients are sums of large ones: those of the bias of keys are rounding alone.
        assert np.mean([size > 1e-2 * max(sizes) for size in sizes]) > 0.4
        for name, x, y in zip(names, gradients, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=share * max(sizes), err_msg=name)


@pytest.mark.whole
@pytest.mark.parametrize(
    "variant, share",
    [("paper", SAME), pytest.param("released", 1e-4, marks=pytest.mark.slow)],
)
def test_attention_learns_the_same_on_features(context, store, variant, share):
    """Long, short and self attention; half of the images are mirrored."""
    changes = {"temporal": {"context_rcnn": {"variant": variant, "temperature": 1.0}}}
    on_images = started(context, **changes)
    on_features = started(context, freeze=[], **on(store), **changes)
    assert_learns_the_same(on_images, on_features, steps=2, share=share)


@pytest.mark.slow
def test_mega_learns_and_detects_the_same_on_features(settings, video_examples, tmp_path):
    settings = yaml.safe_load(yaml.safe_dump(settings))
    task = settings["task"]
    task["model"]["backbone"]["kind"] = "dc5"
    task["model"]["boxes"]["hidden"] = [16]
    for name, split in SPLITS.items():
        task[name] |= {"input_path": f"{video_examples}/{split}-*", "global_batch_size": 2}
    task["validation_data"]["sample_1_of_n"] = 1
    still = save_run(settings, tmp_path / "still")
    flags = [f"--model_dir={still}", f"--examples={video_examples}", "--dtype=float32"]
    store = tmp_path / "store"
    assert store_features.main([*flags, "--mirrored", f"--output_dir={store}"]) == 0
    mega = {"depth": 16, "heads": 2, "local_frames": 3, "memory_frames": 2, "global_frames": 2}
    mega |= {"reference_boxes": 5, "kept_boxes": 3}
    task |= {"temporal": {"type": "mega", "mega": mega}, "freeze": FROZEN}
    task |= {"init_checkpoint": still, "init_checkpoint_modules": "detector"}
    (tmp_path / "mega.yaml").write_text(yaml.safe_dump(settings))
    path = str(tmp_path / "mega.yaml")
    on_images, on_features = started(path), started(path, freeze=[], **on(store))
    assert_learns_the_same(on_images, on_features, steps=3, share=1e-4)
    assert_evaluates_the_same(on_images, on_features)


def on(store):
    return {"learn_on": "features", "features": str(store)}


def assert_evaluates_the_same(*sides):
    found = []
    for task, model in sides:
        task.start_evaluation(model)
        state = None
        for batch in task.build_inputs(task.task_config.validation_data):
            state = task.aggregate_logs(state, task.validation_step(batch, model))
        detections, bar = state
        bar.close()
        found.append(detections)
    expected, others = found
    assert set(expected) == set(others) and len(expected) > 5
    for key, (boxes, scores, classes) in expected.items():
        np.testing.assert_allclose(others[key][1], scores, rtol=0, atol=SCORES)
        # Of the image: sides of boxes are exponentials of what these random weights say.
        np.testing.assert_allclose(others[key][0], boxes, rtol=0, atol=5e-4)
        np.testing.assert_array_equal(others[key][2], classes)


@pytest.fixture(scope="module")
def learned(context, store, tmp_path_factory):
    """The folder of a run that saw nothing but the store, and its last scalars."""
    folder = str(tmp_path_factory.mktemp("learned") / "run")
    config = schema.load_experiment(config_files=[context])
    labels = {name: {"input_path": f"{store}/labels/{split}-*"} for name, split in SPLITS.items()}
    config.task = config.task.replace(freeze=[], **on(store), **labels)
    return folder, eagerly.run(config, mode="train_and_eval", model_dir=folder)


@pytest.mark.slow
def test_a_run_on_features_is_a_whole_detector_on_images(learned, still, context):
    folder, scalars = learned
    assert np.isfinite(scalars["mAP@.5"]) and "training_loss" not in scalars
    trained = load_run(folder)
    assert trained.task.task_config.learn_on == "images"
    before = load_run(still)
    for name in ("backbone", "rpn_head", "box_head"):
        ours, theirs = (getattr(run.model, name).variables for run in (trained, before))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    kernel = trained.model.box_predictor.heads[0].kernel
    assert np.abs(kernel - before.model.box_predictor.heads[0].kernel).max() > 0
    on_features = DetectionTask(schema.load_experiment(config_files=[f"{folder}/params.yaml"]).task)
    params = schema.load_experiment(config_files=[context]).task
    on_images = DetectionTask(params.replace(freeze=[]))
    assert on_features.task_config.learn_on == "features"
    model = on_features.build_model()
    tf.train.Checkpoint(model=model).read(tf.train.latest_checkpoint(folder)).expect_partial()
    assert_evaluates_the_same((on_images, trained.model), (on_features, model))


@pytest.mark.slow
def test_a_killed_run_on_features_goes_on(learned, store):
    folder, _ = learned
    config = schema.load_experiment(config_files=[f"{folder}/params.yaml"])
    config.trainer.train_steps = 6
    eagerly.run(config, mode="train", model_dir=folder)
    assert tf.train.latest_checkpoint(folder).endswith("ckpt-6")


@pytest.mark.whole
@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"temporal": {"type": "s3d"}}, "works on maps"),
        (
            {"temporal": {"type": "st_spatial"}},
            "StSpatialDetector makes .* from maps",
        ),
        ({"temporal": {"context_rcnn": {"position": "crops"}}}, "context_memory works on crops"),
        ({"temporal": {}, "model": FPN}, "predictor has dense layers"),
        ({"temporal": {"type": "none"}, "model": RFCN}, "nothing to learn"),
        ({"temporal": {"type": "none"}, "model": GIVEN}, "proposals are given"),
    ],
    ids=["s3d", "st_spatial", "crops", "fpn", "rfcn", "given"],
)
def test_what_needs_maps_is_refused_by_name(context, store, changes, reason):
    name = changes["temporal"].get("type", "context_rcnn")
    with pytest.raises(ValueError, match=f"task.temporal.type {name} cannot learn: .*{reason}"):
        task_of(context, freeze=[], **on(store), **changes).build_model()


def task_of(path, **changes):
    return DetectionTask(schema.load_experiment(config_files=[path]).task.replace(**changes))


@pytest.mark.slow
def test_a_step_and_inference_on_features_compile(context):
    flags = ["--params_override=task.learn_on=features,task.freeze=[]", "--num_classes=3"]
    assert compile_check.main([f"--config_file={context}", *flags]) == 0


@pytest.mark.whole
def test_a_store_of_another_detector_is_refused(context, store, settings, tmp_path):
    other = save_run(settings, tmp_path / "other")
    task = task_of(context, freeze=[], init_checkpoint=other, **on(store))
    model = task.build_model()
    model.rpn_head.variables[0].assign_add(tf.ones_like(model.rpn_head.variables[0]))
    with pytest.raises(ValueError, match="was filled by a detector with the hash"):
        task.start_evaluation(model)


@pytest.mark.whole
def test_settings_that_do_not_fit_are_refused(context, store, tmp_path):
    with pytest.raises(ValueError, match="must be one of images, features, got 'feature'"):
        task_of(context, learn_on="feature")
    params = schema.load_experiment(config_files=[context]).task
    with pytest.raises(ValueError, match="set task.features to a store"):
        task_of(context, freeze=[], learn_on="features").build_inputs(params.train_data)
    bank = params.memory.bank
    with pytest.raises(ValueError, match="is a memory bank of detections, not a store"):
        task_of(context, freeze=[], **on(bank)).build_inputs(params.train_data)
    with pytest.raises(ValueError, match="no task.init_checkpoint"):
        task_of(context, freeze=[], init_checkpoint="", **on(store)).build_model()


@pytest.mark.whole
def test_images_and_labels_that_the_store_does_not_have_are_named(store, examples_dir):
    stored = StoredInput(ImageStore(store), proposals=10, labelled=20)
    image = next(
        row
        for file in sorted(examples_dir.glob("train-00000-*"))
        for row in tf.data.TFRecordDataset(str(file)).map(parse_example).as_numpy_iterator()
        if len(row["boxes"])
    )
    name, boxes = image["image_id"], image["boxes"]
    row = stored.read(name, boxes, False)
    np.testing.assert_array_equal(row[10 : 10 + len(boxes), -5:-1], boxes)
    with pytest.raises(ValueError, match=f"the labels of image '{name.decode()}'"):
        stored.read(name, boxes + 0.01, False)
    with pytest.raises(ValueError, match="image 'nobody' is not in this store"):
        stored.read(b"nobody", boxes, False)
    with pytest.raises(ValueError, match="proposals, task.model.proposals.count is 3"):
        StoredInput(ImageStore(store), proposals=3, labelled=20).read(name, boxes, False)
