"""Checks the installation, or an exported model, and says what to do about problems."""

import argparse
import os
import platform
import shutil
import sys

from context_rcnn import extras


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the verb of this file."""
    doctor = verbs.add_parser(
        "doctor",
        help="check the installation, or an exported model and its card",
        description="Shows which parts of the core and of each extra are installed, and tries "
        "TensorFlow on every device. A missing extra is no problem. With --model it shows the card "
        "of an exported model, and checks the model, in place of the installation.",
    )
    doctor.add_argument(
        "--model",
        default="",
        metavar="DIR",
        help="folder of an exported model, to be checked in place of the installation",
    )
    doctor.set_defaults(run=lambda args, rest: _model(args.model) if args.model else main())


def main() -> int:
    """Prints the findings. Returns 1 if something that is needed is missing or broken."""
    print(f"Python {platform.python_version()} on {platform.platform()}")
    print(f"{os.cpu_count()} processors, {_memory()} of memory")
    print()
    problems = _core()
    installed = _extras()
    print()
    if not problems:
        problems += _tensorflow()
    if not problems and installed["train"]:
        problems += _training()
    print()
    return _verdict(problems)


def _model(folder: str) -> int:
    """Shows the card of an export and what a try shows. Returns 1 if something is wrong with it."""
    from context_rcnn.export import card
    from context_rcnn.runners.checkup import check_export

    lines, problems = check_export(folder)
    known = card.read_card(folder)
    print(card.as_page(known) if known else "It was exported without a model card.\n")
    print("\n".join(lines))
    print()
    return _verdict(problems)


def _verdict(problems: list[str]) -> int:
    if not problems:
        print("All is well.")
        return 0
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1


def _core() -> list[str]:
    """Prints the packages of the core; returns those that are missing, as problems."""
    problems = []
    print("the core: detect, videos, watch, results, link, report, bank, simulate, validate")
    for name, use in extras.CORE.items():
        version = extras.version(name)
        print(f"  {name:24} {version or 'missing':12} {use}")
        if version is None:
            problems.append(f"{name} is missing: pip install context-rcnn")
    return problems


def _extras() -> dict[str, bool]:
    """Prints the installed parts of each extra; returns which extras are complete."""
    whole = {}
    print("extras:")
    for name, extra in extras.EXTRAS.items():
        packages = dict.fromkeys(extra.modules.values())
        versions = {package: extras.version(package) for package in packages}
        missing = [package for package, version in versions.items() if version is None]
        whole[name] = not missing
        if not missing:
            found = ", ".join(f"{package} {version}" for package, version in versions.items())
            print(f"  {name:10} {extra.gives}: {found}")
        else:
            there = "partly installed" if len(missing) < len(packages) else "not installed"
            print(f"  {name:10} {extra.gives}: {there}; {extras.install_command(name)}")
    return whole


def _tensorflow() -> list[str]:
    """Loads TensorFlow, and runs a convolution on every device."""
    print("loading TensorFlow (about ten seconds) ...", flush=True)
    import tensorflow as tf

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
            ones = tf.nn.conv2d(tf.ones([1, 8, 8, 3]), tf.ones([3, 3, 3, 4]), 1, "VALID")
        if float(tf.reduce_max(tf.abs(ones - 27))):
            problems.append(f"{device.name} computes a convolution wrongly")
            continue
        details = (
            tf.config.experimental.get_device_details(
                tf.config.list_physical_devices("GPU")[int(device.name.rsplit(":", 1)[1])]
            )
            if device.device_type == "GPU"
            else {}
        )
        print(f"  {device.name} works {details.get('device_name', '')}")
    if not any(device.device_type != "CPU" for device in devices):
        print(f"  no GPU or TPU; for an NVIDIA card: {extras.install_command('gpu')}")
        if shutil.which("nvidia-smi") and sys.platform != "win32":
            problems.append(
                "there is an NVIDIA driver, but TensorFlow finds no GPU: "
                f"{extras.install_command('gpu')}, and compare the driver with the CUDA version "
                "that TensorFlow asks for"
            )
    return problems


def _training() -> list[str]:
    """Loads the libraries that training needs."""
    from context_rcnn import addons

    if addons.load() is None:
        print("  tensorflow-addons is not installed: functions of this package replace it")
    try:
        import official.vision  # noqa: F401
    except Exception as error:  # it loads half a hundred libraries, which raise anything
        return [f"tf-models-official is installed but cannot be loaded: {error!r}"]
    print("  tf-models-official loads")
    return []


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "an unknown amount"
    return f"{size / 2**30:.1f} GiB"
