"""The only door to tensorflow-addons.

The library is at its end of life: its wheels stop at Python 3.11, and its import looks for
`keras.src.engine`, which Keras 3 no longer has and `tf_keras.src.engine` can stand in for.
"""

import importlib
import sys
import types
import warnings


def load() -> types.ModuleType | None:
    """Returns the module `tensorflow_addons`, or None where it is not installed."""
    import tf_keras.src.engine

    name = "keras.src.engine"
    if name not in sys.modules:
        importlib.import_module("keras.src")
        sys.modules[name] = tf_keras.src.engine
    try:
        with warnings.catch_warnings():
            # It warns, at length, of its end of life and of every TensorFlow after 2.15.
            warnings.simplefilter("ignore")
            return importlib.import_module("tensorflow_addons")
    except ImportError:
        return None
