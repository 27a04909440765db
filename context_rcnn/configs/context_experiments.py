"""Experiments of Context R-CNN: the paper's, and one for a laptop."""

from official.core import exp_factory

from context_rcnn.configs import detection as configs


@exp_factory.register_config_factory("context_rcnn_c4")
def context_rcnn_c4() -> configs.Experiment:
    """The paper's detector and training: 32 clips of four frames, momentum .9, decay .0004.

    Long-term attention over a month; the files in configs/table1 switch on what else a row has. The
    paper does not say its learning rate for these batches.
    """
    experiment = configs.faster_rcnn_c4()
    task = experiment.task
    task.temporal.type = "context_rcnn"
    task.clip.frames = 4
    task.memory.max_entries = 8500
    task.train_data.global_batch_size = 32
    return experiment


@exp_factory.register_config_factory("context_rcnn_tiny")
def context_rcnn_tiny() -> configs.Experiment:
    """For the simulated cameras: starts from a trained `faster_rcnn_tiny`, and takes minutes.

    The paper's temperature is for features of depth 2048; at 128 it would look at one memory only.
    """
    steps = 500
    experiment = configs.faster_rcnn_tiny()
    task, trainer = experiment.task, experiment.trainer
    task.temporal.type = "context_rcnn"
    task.temporal.context_rcnn.variant = "released"
    task.temporal.context_rcnn.depth = 128
    task.temporal.context_rcnn.temperature = 0.1
    task.temporal.context_rcnn.short_term.boxes = 8
    task.memory.max_entries = 200
    task.init_checkpoint_modules = "detector"
    trainer.train_steps = steps
    trainer.validation_interval = steps
    trainer.checkpoint_interval = steps // 2
    trainer.optimizer_config = configs.momentum(0.02, steps, warmup_steps=50)
    return experiment
