"""Training in 16 bits: the same losses within noise, and weights that stay in 32."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn.configs import schema
from context_rcnn.tasks import running


@pytest.fixture(autouse=True)
def float32_afterwards():
    yield
    tf_keras.mixed_precision.set_global_policy("float32")


def load(settings, steps, **runtime):
    settings = json.loads(json.dumps(settings))
    settings["runtime"] = runtime
    names = ("train_steps", "validation_interval", "checkpoint_interval")
    settings["trainer"] |= dict.fromkeys(names, steps)
    return schema.load_experiment(settings.pop("experiment"), overrides=json.dumps(settings))


@pytest.mark.slow
def test_16_bits_learn_what_32_do(settings, tmp_path, capsys):
    """Of sixteen steps on the same batches; losses fall by a half, and differ by less than .05."""
    losses = {}
    for dtype, more in (("float32", {}), ("bfloat16", {}), ("float16", {"loss_scale": "dynamic"})):
        folder = tmp_path / dtype
        config = load(settings, 16, mixed_precision_dtype=dtype, **more)
        running.run(config, mode="train", model_dir=str(folder))
        printed = capsys.readouterr().out
        losses[dtype] = np.array([float(x) for x in re.findall(r" loss ([\d.]+) ", printed)])
        for name, _ in tf.train.list_variables(tf.train.latest_checkpoint(str(folder))):
            if name.startswith("model/") and "OPTIMIZER" not in name and "VALUE" in name:
                value = tf.train.load_variable(str(folder), name)
                assert value.dtype in (np.float32, np.int64), name
    assert len(losses["float32"]) == 8 and losses["float32"][-1] < 0.7 * losses["float32"][0]
    for dtype in ("bfloat16", "float16"):
        assert (losses[dtype] != losses["float32"]).any(), "it was computed in 32 bits"
        np.testing.assert_allclose(losses[dtype], losses["float32"], atol=0.05)


@pytest.mark.parametrize(
    "runtime, message",
    [
        ({"mixed_precision_dtype": "float16"}, "set runtime.loss_scale to dynamic"),
        ({"mixed_precision_dtype": "int8"}, "must be one of float32, float16, bfloat16"),
    ],
)
def test_what_would_not_learn_is_refused(settings, tmp_path, runtime, message):
    with pytest.raises(ValueError, match=message):
        running.run(load(settings, 2, **runtime), mode="train", model_dir=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
