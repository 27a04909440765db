"""Shared by all tests: Keras 2 before TensorFlow loads, no GPU, and no test against the clock."""

import os

from hypothesis import settings

import context_rcnn  # noqa: F401

settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def pytest_collection_modifyitems(items):
    """The longest file comes first, so that no worker waits for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_demo.py")
