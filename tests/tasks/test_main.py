"""The Object Detection API's flags become settings."""

import pytest
from absl import flags
from absl.testing import flagsaver

from context_rcnn import model_main_tf2


@pytest.fixture(name="configure")
def fixture_configure():
    def configure(*argv):
        with flagsaver.flagsaver():
            flags.FLAGS(["main", "--experiment=faster_rcnn_tiny", *argv])
            return model_main_tf2.configure()

    return configure


def test_flags_override_settings(configure):
    config, mode = configure(
        "--num_train_steps=12",
        "--checkpoint_every_n=3",
        "--sample_1_of_n_eval_examples=5",
        "--params_override=task.train_data.input_path=a,task.validation_data.input_path=b",
    )
    assert (config.trainer.train_steps, config.trainer.checkpoint_interval) == (12, 3)
    assert config.task.validation_data.sample_1_of_n == 5
    assert config.task.validation_data.input_path == "b"
    assert mode == "train_and_eval"


@pytest.mark.parametrize(
    "argv, mode",
    [
        (["--params_override=task.train_data.input_path=a"], "train"),
        (["--checkpoint_dir=runs/x"], "continuous_eval"),
        (["--checkpoint_dir=runs/x", "--mode=eval"], "eval"),
        (
            ["--eval_on_train_data", "--params_override=task.train_data.input_path=a"],
            "train_and_eval",
        ),
    ],
)
def test_the_mode_follows_from_the_flags(configure, argv, mode):
    assert configure(*argv)[1] == mode


def test_evaluating_on_the_training_data(configure):
    config, _ = configure(
        "--eval_on_train_data", "--params_override=task.train_data.input_path=somewhere"
    )
    assert config.task.validation_data.input_path == "somewhere"


@pytest.mark.parametrize(
    "argv, strategy, tpu",
    [
        ([], "mirrored", None),
        (["--num_workers=2"], "multi_worker_mirrored", None),
        (["--use_tpu"], "tpu", ""),
        (["--use_tpu", "--tpu_name=mine"], "tpu", "mine"),
        (["--tpu=local"], "tpu", "local"),
    ],
)
def test_the_strategy_follows_from_the_flags(configure, argv, strategy, tpu):
    runtime = configure(*argv)[0].runtime
    assert (runtime.distribution_strategy, runtime.tpu) == (strategy, tpu)
