"""A batch in parts teaches what the whole batch does."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import yaml

from context_rcnn.configs import schema
from context_rcnn.tasks.accumulation import in_parts
from context_rcnn.tasks.detection import DetectionTask
from tests.tolerance import assert_close

ROWS = tf.constant([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
@pytest.mark.parametrize("graph", [False, True])
def test_means_over_parts_by_hand(parts, graph):
    seen = []

    def compute(inputs):
        seen.append(inputs["x"].shape.as_list())
        mean = tf.reduce_mean(inputs["x"] ** 2)
        return [tf.reduce_mean(inputs["x"]), None, mean[None]], {"loss": mean}

    def run():
        inputs = {"x": ROWS, "frames": tf.range(12), "valid": tf.ones([6], tf.bool)}
        gradients, values = in_parts(compute, inputs, parts, 6)
        assert gradients[1] is None
        return gradients[0], gradients[2], values["loss"]

    first, second, loss = (tf.function(run, autograph=False) if graph else run)()
    assert float(first) == pytest.approx(3.5)
    assert float(second[0]) == float(loss) == pytest.approx(91 / 6)
    assert seen[0] == [6 // parts, 1]


def test_parts_that_do_not_divide_the_batch_are_named():
    for parts, message in ((4, "task.accumulate is 4.* 6 clips"), (0, "at least 1, got 0")):
        with pytest.raises(ValueError, match=message):
            in_parts(lambda inputs: ([], {}), {"x": ROWS}, parts, 6)


def test_a_detector_learns_in_parts_what_it_learns_from_the_whole(settings, tmp_path):
    """With nothing drawn at random, and batch norms that stay as they are."""
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    params = schema.load_experiment(config_files=[str(path)]).task
    params.model.backbone.freeze_batch_norm, params.init_checkpoint = True, "not loaded here"
    params.model.proposals.anchor_samples = 4096
    params.model.boxes.samples = 64
    batch = next(
        inputs
        for inputs in DetectionTask(params).build_inputs(params.train_data)
        if inputs["box_valid"].numpy().any(axis=1).sum() >= 2
    )
    assert len(batch["clip_valid"]) % 2 == 0
    moved = {}
    for parts in (1, 2):
        task = DetectionTask(params.replace(accumulate=parts))
        tf_keras.utils.set_random_seed(4)
        model = task.build_model()
        before = [variable.numpy() for variable in model.trainable_variables]
        optimizer = tf_keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables)
        task.train_step(batch, model, optimizer)
        moved[parts] = [
            variable.numpy() - old
            for variable, old in zip(model.trainable_variables, before, strict=True)
        ]
        names = [variable.name for variable in model.trainable_variables]
    for whole, halves, name in zip(moved[1], moved[2], names, strict=True):
        assert np.any(whole), name
        assert_close(halves, whole, err_msg=name)
