"""Loading checkpoints: all of it, or an error that says what is wrong with which variables."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.detectors import checkpoints


class Model(tf.Module):
    def __init__(self, **values):
        super().__init__()
        for name, value in values.items():
            setattr(self, name, tf.Variable(value, dtype=tf.float32, name=name))


def save(tmp_path, **values):
    return tf.train.Checkpoint(model=Model(**values)).write(str(tmp_path / "ckpt"))


def test_all_variables_are_filled_also_with_zeros(tmp_path):
    path = save(tmp_path, kernel=[[1.0, 2.0]], bias=[0.0, 0.0], unused=[5.0])
    model = Model(kernel=[[9.0, 9.0]], bias=[9.0, 9.0], nothing=np.zeros([0]))
    checkpoints.restore(path, "--checkpoint", model=model)
    np.testing.assert_array_equal(model.kernel, [[1, 2]])
    np.testing.assert_array_equal(model.bias, [0, 0])


def test_missing_variables_are_named_unless_they_are_new(tmp_path):
    path = save(tmp_path, kernel=[1.0])
    model = Model(kernel=[9.0], bias=[9.0])
    message = "--checkpoint: .*ckpt fills only part of model: 1 of 2 variables .* such as bias:0"
    with pytest.raises(ValueError, match=message):
        checkpoints.restore(path, "--checkpoint", model=model)
    model = Model(kernel=[9.0], bias=[9.0])
    checkpoints.restore(path, "--checkpoint", new=[model.bias], model=model)
    assert model.kernel.numpy() == [1] and model.bias.numpy() == [9]


@pytest.mark.parametrize("values", [[np.nan, np.nan], [1.0, np.nan]], ids=["all", "some"])
def test_a_training_that_diverged_is_not_taken_for_missing_variables(tmp_path, values):
    path = save(tmp_path, kernel=[1.0], moments=values, scale=values)
    model = Model(kernel=[9.0], moments=[9.0, 9.0], scale=[9.0, 9.0])
    with pytest.raises(ValueError) as error:
        checkpoints.restore(path, "--checkpoint", model=model)
    text = str(error.value)
    assert "ckpt holds NaN in 2 of 3 variables: moments:0, scale:0. " in text
    assert "diverged" in text and "missing" not in text


def test_missing_ones_are_told_from_those_that_hold_nan(tmp_path):
    path = save(tmp_path, kernel=[np.nan])
    model = Model(kernel=[9.0], bias=[9.0])
    with pytest.raises(ValueError, match="1 of 2 variables are missing, such as bias:0$"):
        checkpoints.restore(path, "--checkpoint", model=model)


def test_many_names_are_counted(tmp_path):
    values = {f"v{i}": [np.nan] for i in range(8)}
    path = save(tmp_path, **values)
    with pytest.raises(ValueError, match="v0:0, v1:0, v2:0, v3:0, v4:0 and 3 more"):
        checkpoints.restore(path, "--checkpoint", model=Model(**values))
