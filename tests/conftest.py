"""Shared by all tests: Keras 2 before TensorFlow loads, and no GPU."""

import os

import context_rcnn  # noqa: F401

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
