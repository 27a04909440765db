r"""Trains and evaluates detectors, with the Object Detection API's flags and tf-models-official's.

Train, with an evaluation from time to time. Ctrl-C and SIGTERM save the step before the run ends;
the same command resumes, also after a crash:

    python -m context_rcnn.model_main_tf2 \
        --pipeline_config_path=configs/simulation/faster_rcnn.yaml --model_dir=runs/first

Evaluate once and stop, or evaluate every checkpoint that another process writes:

    python -m context_rcnn.model_main_tf2 --mode=eval --model_dir=runs/first \
        --config_file=runs/first/params.yaml
    python -m context_rcnn.model_main_tf2 --model_dir=runs/eval --checkpoint_dir=runs/first \
        --config_file=runs/first/params.yaml --eval_timeout=3600

Settings come from the experiment, the config files in their order, --params_override and the flags
below; later ones override earlier ones. docs/architecture.md explains the settings.
"""

import os
import shlex
import sys

from absl import app, flags, logging

import context_rcnn  # noqa: F401  (chooses Keras 2 before TensorFlow loads)
from context_rcnn import extras

# The Object Detection API's.
flags.DEFINE_string(
    "pipeline_config_path",
    None,
    "File with the settings: YAML (see configs/) or a pipeline.config of the Object Detection API.",
)
flags.DEFINE_string("model_dir", None, "Folder of the run: checkpoints, summaries, evaluations.")
flags.DEFINE_integer(
    "num_train_steps", None, "Step at which the training ends (trainer.train_steps)."
)
flags.DEFINE_string(
    "checkpoint_dir",
    None,
    "Folder whose checkpoints are evaluated (or one checkpoint), instead of training.",
)
flags.DEFINE_integer(
    "eval_timeout",
    3600,
    "Seconds that continuous evaluation waits for the next checkpoint before it ends.",
)
flags.DEFINE_bool("eval_on_train_data", False, "Evaluate on the training data.")
flags.DEFINE_integer(
    "sample_1_of_n_eval_examples", None, "Number n: every n-th image is evaluated."
)
flags.DEFINE_bool("use_tpu", False, "Train on a TPU.")
flags.DEFINE_string("tpu_name", None, "Name or address of the TPU; empty for the local TPU.")
flags.DEFINE_integer(
    "num_workers",
    1,
    "Number of machines; if above 1, TF_CONFIG describes them on each machine, or Slurm's srun.",
)
flags.DEFINE_integer("checkpoint_every_n", None, "Number of steps between checkpoints.")
flags.DEFINE_bool("record_summaries", True, "Write TensorBoard files.")
# tf-models-official's.
flags.DEFINE_string("experiment", "", "Name of an experiment, unless the YAML file has it.")
flags.DEFINE_multi_string(
    "config_file",
    [],
    "YAML file with settings; may be repeated, later files override earlier ones.",
)
flags.DEFINE_string("params_override", "", "Settings, as a.b=1,a.c=2 or as YAML.")
flags.DEFINE_enum(
    "mode",
    None,
    ["train", "eval", "train_and_eval", "continuous_eval"],
    "Work to do. The default is train_and_eval if there is validation data, else train; with "
    "--checkpoint_dir it is continuous_eval.",
)
flags.DEFINE_string("tpu", None, "Name or address of the TPU, as --tpu_name; implies --use_tpu.")

FLAGS = flags.FLAGS


def configure():
    """Returns the settings and the mode that the flags ask for."""
    from context_rcnn.configs import schema

    files = [FLAGS.pipeline_config_path] if FLAGS.pipeline_config_path else []
    config = schema.load_experiment(
        FLAGS.experiment, files + FLAGS.config_file, FLAGS.params_override
    )
    task, trainer, runtime = config.task, config.trainer, config.runtime
    if FLAGS.num_train_steps is not None:
        trainer.train_steps = FLAGS.num_train_steps
    if FLAGS.checkpoint_every_n is not None:
        trainer.checkpoint_interval = FLAGS.checkpoint_every_n
    if FLAGS.sample_1_of_n_eval_examples is not None:
        task.validation_data.sample_1_of_n = FLAGS.sample_1_of_n_eval_examples
    if FLAGS.eval_on_train_data:
        task.validation_data.input_path = task.train_data.input_path
    if FLAGS.use_tpu or FLAGS.tpu is not None:
        runtime.distribution_strategy = "tpu"
        runtime.tpu = FLAGS.tpu or FLAGS.tpu_name or ""
    elif FLAGS.num_workers > 1:
        runtime.distribution_strategy = "multi_worker_mirrored"
    mode = FLAGS.mode
    if mode is None and FLAGS.checkpoint_dir:
        mode = "continuous_eval"
    elif mode is None:
        mode = "train_and_eval" if task.validation_data.input_path else "train"
    return config, mode


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    if not FLAGS.model_dir:
        raise app.UsageError("--model_dir is required: the folder where the run is kept")
    # TensorFlow takes ten seconds to load; --help and wrong flags should not wait for it.
    import tensorflow as tf

    from context_rcnn.tasks import running, workers

    logging.set_verbosity(logging.WARNING)
    config = None
    try:
        config, mode = configure()
        if FLAGS.num_workers > 1:
            workers.join(FLAGS.num_workers)
        running.run(
            config,
            mode=mode,
            model_dir=FLAGS.model_dir,
            checkpoint=FLAGS.checkpoint_dir or "",
            eval_timeout=FLAGS.eval_timeout,
            save_summary=FLAGS.record_summaries,
        )
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, UnicodeDecodeError):
        if os.environ.get("CONTEXT_RCNN_TRACEBACK"):
            raise
        damage = first_damage(config)
        if damage is None:
            raise  # The input can be read; the fault is elsewhere.
        sys.exit(f"error: {damage}\n(`context-rcnn validate --examples=...` lists all damage)")
    except KeyboardInterrupt as stop:
        print(
            f"\n{str(stop) or 'stopped'}. The same command continues from the last checkpoint in "
            f"{FLAGS.model_dir}:\n  {shlex.join(sys.orig_argv)}",
            file=sys.stderr,
        )
        sys.exit(130)
    except (ValueError, OSError) as error:
        if os.environ.get("CONTEXT_RCNN_TRACEBACK"):
            raise
        sys.exit(f"error: {error}\n(CONTEXT_RCNN_TRACEBACK=1 shows where it comes from)")


def first_damage(config) -> str | None:
    """The first thing that cannot be read in the run's input, or None."""
    from context_rcnn.tasks.task import task_class

    return next(iter(task_class(config.task).find_damage(config.task)), None)


if __name__ == "__main__":
    app.run(extras.explained(main))
