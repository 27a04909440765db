"""Looks at the installation: versions, devices, what is missing, and what to do about it."""

import argparse
import importlib.metadata
import os
import platform
import shutil

# Package, why it is needed, and whether the road from archive to detector works without it.
PACKAGES = (
    ("tensorflow", "everything", True),
    ("tf-keras", "everything: tf-models-official is written for Keras 2", True),
    ("tf-models-official", "backbones, layers and the training loop", True),
    ("numpy", "everything", True),
    ("pycocotools", "every number called mAP or AR", True),
    ("apache-beam", "examples and memory banks", True),
    ("google-crc32c", "fast TFRecord checksums in Beam", False),
    ("pillow", "reading photographs", True),
    ("tqdm", "progress bars", True),
    ("matplotlib", "figures", False),
    ("jinja2", "reports", False),
    ("tensorflow-addons", "losses and augmentation of re-identification", False),
    ("frictionless", "checking Camtrap DP (extra: camtrapdp)", False),
)


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the verb of this file."""
    doctor = verbs.add_parser("doctor", help="versions, devices, what is missing and what to do")
    doctor.set_defaults(run=lambda args, rest: main())


def main() -> int:
    """Prints the findings. Returns 1 if something that is needed is missing."""
    problems: list[str] = []
    print(f"Python {platform.python_version()} on {platform.platform()}")
    print(f"{os.cpu_count()} processors, {_memory()} of memory")
    print()
    for name, use, needed in PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "missing"
            if needed:
                problems.append(f"{name} is missing: pip install -c constraints.txt -e .")
        print(f"  {name:20} {version:12} {use}")
    print()
    if not problems:
        problems += _tensorflow()
    print()
    if not problems:
        print("All is well.")
        return 0
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1


def _tensorflow() -> list[str]:
    """Loads TensorFlow and what stands on it, and runs a convolution on every device."""
    print("loading TensorFlow (about ten seconds) ...", flush=True)
    import tensorflow as tf
    import tf_keras

    from context_rcnn import addons

    problems = []
    if os.environ["TF_USE_LEGACY_KERAS"] not in ("1", "true", "True"):
        problems.append(
            "TF_USE_LEGACY_KERAS is set in this shell to something other than 1: unset it"
        )
    devices = [
        device for kind in ("CPU", "GPU", "TPU") for device in tf.config.list_logical_devices(kind)
    ]
    for device in devices:
        with tf.device(device.name):
            layer = tf_keras.layers.Conv2D(8, 3)
            layer(tf.ones([1, 32, 32, 3]))
        details = (
            tf.config.experimental.get_device_details(
                tf.config.list_physical_devices("GPU")[int(device.name.rsplit(":", 1)[1])]
            )
            if device.device_type == "GPU"
            else {}
        )
        print(f"  {device.name} works {details.get('device_name', '')}")
    if not any(device.device_type != "CPU" for device in devices):
        print("  no GPU or TPU: training works, slowly. With an NVIDIA card: pip install '.[gpu]'")
        if shutil.which("nvidia-smi"):
            problems.append(
                "there is an NVIDIA driver, but TensorFlow finds no GPU: pip install '.[gpu]', "
                "and compare the driver with the CUDA version TensorFlow asks for"
            )
    if addons.load() is None:
        print("  tensorflow-addons has no wheel for this Python: plain TensorFlow stands in")
    import official.vision  # noqa: F401

    print("  tf-models-official loads")
    return problems


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "an unknown amount"
    return f"{size / 2**30:.1f} GiB"
