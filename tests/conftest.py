"""Shared by all tests: Keras 2 before TensorFlow loads, no GPU, and no test against the clock."""

import errno
import gc
import os
import pathlib
import shutil
import sys

import pytest
from hypothesis import settings

import context_rcnn  # noqa: F401  chooses Keras 2 before TensorFlow loads
from tests import quicker

settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# Tracing makes so many objects that looking for garbage takes a seventh of the time.
gc.set_threshold(100_000, 50, 1000)
# `make test` says so: most graphs here run a few times, and optimising them takes longer.
GRAPPLER_OFF = {"disable_meta_optimizer": os.environ.get("TESTS_GRAPPLER") == "off"}


def pytest_configure(config):
    """Loads and sets TensorFlow, but not in the process that only hands tests to workers."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    import tensorflow as tf

    # It wraps every function of TensorFlow, and a test that fails shows all of its frames anyway.
    tf.debugging.disable_traceback_filtering()
    tf.config.optimizer.set_experimental_options(GRAPPLER_OFF)
    if GRAPPLER_OFF["disable_meta_optimizer"]:
        tf.data.Dataset._apply_debug_options = without_autotune  # where every iterator begins


def without_autotune(dataset):
    """The thread that tunes a dataset sleeps for up to a minute, and its end is waited for."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


quicker.type_hints()


def pytest_runtest_setup(item):
    """Beam is quicker from the first test after the one that loads it."""
    if "apache_beam.transforms.core" in sys.modules:
        quicker.beam()


LONGEST = (
    "models/test_laws.py",
    "export/test_export.py",
    "tasks/test_running.py",
    "cli/test_demo.py",
    "beam_pipelines/test_portable.py",
    "beam_pipelines/test_build_memory_bank.py",
    "models/test_mega.py",
    "models/test_stmn.py",
    "models/test_psta.py",
    "models/test_context_rcnn.py",
    "models/test_memory_warps.py",
    "detectors/test_two_stage.py",
    "export/test_export_video.py",
    "tasks/test_features.py",
    "tasks/test_video.py",
    "tasks/test_recipe.py",
    "tpu/test_compile_check.py",
    "exported/test_exported.py",
)


@pytest.fixture(scope="module", autouse=True)
def swept():
    """Frees what a file leaves behind, and never looks again at what stays.

    What graphs and caches hold grows to millions of objects, and takes long to look through.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def optimised():
    """Graphs are optimised, as they are in other processes, which then give the same bytes."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options(GRAPPLER_OFF)


@pytest.fixture
def locked(monkeypatch):
    """A set of paths that the system refuses to list or to look at; also root is refused."""
    paths = set()

    def guarded(call):
        def refusing(path=".", *args, **kwargs):
            if isinstance(path, str | bytes | os.PathLike):
                text = os.fsdecode(path)
                if os.path.abspath(text) in map(str, paths):
                    raise PermissionError(errno.EACCES, "Permission denied", text)
            return call(path, *args, **kwargs)

        return refusing

    for name in ("scandir", "stat"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    return paths


def pytest_collection_modifyitems(items):
    """The longest files come first, so that no worker waits for one at the end.

    `make test` keeps this order by --no-loadscope-reorder; without it the files with most tests
    would come first, and the longest have few.
    """
    places = {file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get("/".join(item.path.parts[-2:]), len(places)))


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Makes a folder that all workers read: `once(name, make)` calls `make(folder)` and returns it.

    A worker that comes later takes what another has made. Nothing waits: of two that begin at the
    same time, both make it, and the first to end is the one that is kept.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def folder(name, make):
        shared = pathlib.Path(root, f"once_{name}")
        if not shared.exists():
            draft = tmp_path_factory.mktemp(name)
            make(draft)
            try:
                draft.rename(shared)
            except OSError:  # another worker was first
                shutil.rmtree(draft)
        return shared

    return folder
