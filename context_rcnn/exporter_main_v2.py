r"""Exports a trained detector as a SavedModel, with the Object Detection API's flags.

    python -m context_rcnn.exporter_main_v2 --input_type=image_tensor \
        --pipeline_config_path=runs/memory/params.yaml --trained_checkpoint_dir=runs/memory \
        --output_directory=export --extractor=extractor

A detector with a memory takes it as the side inputs `context_features` and `valid_context_size`,
which callers may leave out. As with the old tool, their sizes can be fixed:

    --use_side_inputs --side_input_shapes=1,2000,2057/1 --side_input_types=float,int \
        --side_input_names=context_features,valid_context_size

docs/serving.md describes the export and how to call it.
"""

import os
import sys

from absl import app, flags

import context_rcnn  # noqa: F401  (chooses Keras 2 before TensorFlow loads)
from context_rcnn import extras

# The Object Detection API's.
flags.DEFINE_string(
    "input_type",
    "image_tensor",
    "Input of `serving_default`: image_tensor (uint8 [batch, height, width, 3]), "
    "float_image_tensor (the same as floats in 0..255), encoded_image_string_tensor (JPEG, PNG, "
    "...), or tf_example (serialized, with or without a memory in them).",
)
flags.DEFINE_string(
    "pipeline_config_path",
    None,
    "YAML file with the settings; by default params.yaml in --trained_checkpoint_dir.",
    allow_override=True,  # model_main_tf2 has it, too
)
flags.DEFINE_string(
    "trained_checkpoint_dir",
    None,
    "Folder of a run, whose best or else latest checkpoint is exported; or a checkpoint.",
)
flags.DEFINE_string("output_directory", None, "Folder to write.")
flags.DEFINE_string("config_override", "", "Settings, as a.b=1,a.c=2 or as YAML.")
flags.DEFINE_bool(
    "use_side_inputs",
    None,
    "Whether `serving_default` takes a memory. By default it does if the detector attends to one.",
)
flags.DEFINE_string(
    "side_input_shapes",
    "",
    "Shapes of the side inputs, separated by /, -1 for any size: 1,2000,2057/1. The default is any "
    "batch size and any number of entries. If the number of entries is fixed, callers must pass a "
    "memory.",
)
flags.DEFINE_string("side_input_types", "", "Types of the side inputs: float,int.")
flags.DEFINE_string(
    "side_input_names",
    "",
    "Names of the side inputs, in any order: context_features,valid_context_size.",
)
# Ours.
flags.DEFINE_string(
    "extractor",
    "",
    "Folder of the extractor that made the memory bank; the signatures extract and step need it.",
)
flags.DEFINE_string(
    "card",
    "",
    "YAML or JSON file with texts for the model card: made_by, licence, intended_use, not_for, "
    "data, notes.",
)
flags.DEFINE_bool(
    "portable",
    False,
    "Crop boxes by operations that TFLite has, too. Processors take a few percent longer.",
)

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    for name in ("trained_checkpoint_dir", "output_directory"):
        if not FLAGS[name].value:
            raise app.UsageError(f"--{name} is required")
    # TensorFlow takes ten seconds to load; --help and wrong flags should not wait for it.
    from context_rcnn.configs import schema
    from context_rcnn.export.export import export_trained
    from context_rcnn.tasks.loading import load_trained

    folder = FLAGS.trained_checkpoint_dir
    settings = FLAGS.pipeline_config_path or os.path.join(folder, "params.yaml")
    try:
        config = schema.load_experiment(config_files=[settings], overrides=FLAGS.config_override)
        export_trained(
            load_trained(config, folder),
            FLAGS.output_directory,
            told=FLAGS.card,
            portable=FLAGS.portable,
            extractor=FLAGS.extractor,
            input_type=FLAGS.input_type,
            use_side_inputs=FLAGS.use_side_inputs,
            side_input_shapes=FLAGS.side_input_shapes,
            side_input_types=FLAGS.side_input_types,
            side_input_names=FLAGS.side_input_names,
        )
    except ValueError as error:
        if os.environ.get("CONTEXT_RCNN_TRACEBACK"):
            raise
        sys.exit(f"error: {error}\n(CONTEXT_RCNN_TRACEBACK=1 shows where it comes from)")
    print(f"exported to {FLAGS.output_directory}")


if __name__ == "__main__":
    app.run(extras.explained(main))
