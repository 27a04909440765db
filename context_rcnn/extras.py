"""The extras beside the core, and messages for those that are missing.

The core is what an exported model needs. `setup.py` has the same names in `CORE` and `EXTRAS`, with
their versions. A verb imports what it needs when it runs; `main` turns the import that fails into a
sentence with the command that installs it.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable

PAGE = "docs/install.md"

# Distributions of the core, and the purpose of each.
CORE = {
    "tensorflow": "everything",
    "numpy": "everything",
    "ml-dtypes": "memory banks in bfloat16",
    "google-crc32c": "checksums of memory banks",
    "pillow": "reading photographs",
    "opencv-python-headless": "reading videos",
    "pycocotools": "every number called mAP or AR",
    "tqdm": "progress bars",
    "matplotlib": "figures",
    "jinja2": "reports",
}
# Other distributions with the same module: `tensorflow-tpu` is TensorFlow on a TPU.
SAME = {"tensorflow": ("tensorflow-tpu", "tensorflow-cpu")}


@dataclasses.dataclass(frozen=True)
class Extra:
    """The additions of `pip install "context-rcnn[NAME]"`.

    Attributes:
        gives: verbs or features that need the extra.
        modules: distribution of each module that is imported from the extra.
        windows: whether the extra can be installed on Windows.
        command: instructions for installing it, if not by pip.
    """

    gives: str
    modules: dict[str, str]
    windows: bool = True
    command: str = ""


EXTRAS = {
    "train": Extra(
        "train, convert, extractor, explain, export, cost, embedder, head (with beam)",
        {
            "official": "tf-models-official",
            "orbit": "tf-models-official",
            "tf_keras": "tf-keras",
            "yaml": "pyyaml",
        },
        windows=False,
    ),
    "beam": Extra("examples, remember, features, bank copy", {"apache_beam": "apache-beam"}),
    "reid": Extra(
        "simulate tracklets; the `.mat` files of MARS and iLIDS-VID; pictures of features",
        {"scipy": "scipy", "sklearn": "scikit-learn"},
    ),
    "camtrapdp": Extra(
        "`frictionless validate` for Camtrap DP packages", {"frictionless": "frictionless"}
    ),
    "heic": Extra("photographs in HEIC, as telephones take them", {"pillow_heif": "pillow-heif"}),
    "gpu": Extra("NVIDIA cards", {"nvidia": "nvidia-cudnn-cu12"}, windows=False),
    "tpu": Extra(
        "TPUs, in place of `tensorflow`",
        {"libtpu": "tensorflow-tpu"},
        windows=False,
        command="tpu/install.sh in a checkout, on the TPU's machine",
    ),
    "test": Extra(
        "the tests of a checkout",
        {"pytest": "pytest", "hypothesis": "hypothesis", "ruff": "ruff", "mypy": "mypy"},
    ),
}


def version(distribution: str) -> str | None:
    """The installed version of a distribution or of one with the same module, or None."""
    for name in (distribution, *SAME.get(distribution, ())):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def install_command(name: str) -> str:
    """How to install an extra on this system, or that it cannot be.

    Double quotes, because the command line of Windows keeps single ones.
    """
    extra = EXTRAS[name]
    if sys.platform == "win32" and not extra.windows:
        return f"not on Windows itself: use WSL 2 or Linux ({PAGE})"
    return extra.command or f'pip install "context-rcnn[{name}]"'


def require(*names: str) -> None:
    """Fails at once if something of these extras is missing, before long work begins.

    Raises:
        ModuleNotFoundError: With the name of the first module that is missing.
    """
    for name in names:
        for module in EXTRAS[name].modules:
            if importlib.util.find_spec(module) is None:
                raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def explained(main: Callable[..., None]) -> Callable[..., None]:
    """Makes a program end with this sentence, as the verbs of `context-rcnn` do."""

    @functools.wraps(main)
    def run(*args):
        try:
            main(*args)
        except ModuleNotFoundError as error:
            sentence = explain(error)
            if sentence is None:
                raise
            sys.exit(f"error: {sentence}")

    return run


def explain(error: ModuleNotFoundError) -> str | None:
    """A sentence for people about a module that is missing, or None if it is none of these."""
    module = (error.name or "").partition(".")[0]
    for name, extra in EXTRAS.items():
        if module in extra.modules:
            return (
                f"this needs {extra.modules[module]}, which is not installed: "
                f"{install_command(name)}"
            )
    distribution = _CORE_MODULES.get(module)
    if distribution is None:
        return None
    return f"this needs {distribution}, which is not installed: pip install context-rcnn"


_CORE_MODULES = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    **{name.replace("-", "_"): name for name in CORE},
}
