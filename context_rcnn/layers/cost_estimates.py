"""TensorFlow's optimiser of memory estimates what each operation costs, and warns where it cannot.

It cannot for crops of a number of images that is not known before: one long line each on the
terminal, whatever TF_CPP_MIN_LOG_LEVEL is. What it is for, tensors that leave a GPU's memory or are
computed again where that is short, is of use in training only. So it is left out elsewhere.
"""

from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2
from tensorflow.python.eager import context  # the public options do not have this one


def leave_out_cost_estimates() -> None:
    """Leaves them out in all functions that are called later."""
    ours = context.context()
    config = ours._config or tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.memory_optimization = (
        rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
    )
    ours._config = config
    ours.function_call_options = None  # it is made of the settings when it is next asked for


def load_saved_model(folder: str) -> Any:
    """What `tf.saved_model.load` loads, without those warnings."""
    leave_out_cost_estimates()
    return tf.saved_model.load(folder)
