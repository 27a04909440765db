"""Context R-CNN and its relatives: two-stage Keras detectors with long-term memory.

docs/architecture.md draws the whole house, and says who may import whom.
"""

import os

# tf-models-official is written against Keras 2, which TensorFlow only serves under this switch. It
# has to be set before TensorFlow loads, so it lives here, in the first line of ours that runs.
# Without Keras 2 only `tf.keras` fails, when it is touched; the core does not touch it.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# TensorFlow's C++ start-up notes are of no use to people who run a detector. Without an NVIDIA card
# it even calls that an error; what goes wrong in earnest is raised in Python, too.
_CARD = os.path.exists("/dev/nvidiactl")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if _CARD else "3")

__version__ = "0.2.0.dev0"
