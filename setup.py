"""Installs `context_rcnn`, `beam_pipelines`, `tpu` and the command `context-rcnn`."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"', (HERE / "context_rcnn/__init__.py").read_text(), re.M
).group(1)

setup(
    name="context-rcnn",
    version=VERSION,
    description="Two-stage Keras detectors that remember: long-term memory for static cameras.",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(
        include=["context_rcnn", "context_rcnn.*", "beam_pipelines", "beam_pipelines.*", "tpu"]
    ),
    package_data={"context_rcnn.report": ["templates/*"]},
    entry_points={"console_scripts": ["context-rcnn = context_rcnn.cli:main"]},
    # tf-models-official fixes TensorFlow's minor version; constraints.txt pins the whole set.
    install_requires=[
        "tensorflow>=2.20,<2.21",
        "tf-keras>=2.20,<2.21",
        "tf-models-official>=2.20,<2.21",
        # End of life, with wheels up to Python 3.11; context_rcnn/addons.py is the only door to it.
        "tensorflow-addons>=0.23,<0.24; python_version < '3.12'",
        "numpy>=1.26",
        "ml-dtypes>=0.5",  # bfloat16 for NumPy; TensorFlow brings it too
        "pycocotools>=2.0.8",
        "apache-beam>=2.60",
        # Beam checksums TFRecords fifteen times faster with it.
        "google-crc32c>=1.5",
        "pillow>=11",
        "opencv-python-headless>=4.8",  # videos; tf-models-official brings it too
        "tqdm>=4.66",
        "matplotlib>=3.8",
        "jinja2>=3.1",
    ],
    extras_require={
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "ruff>=0.6",
            "frictionless>=5.16",
        ],
        "gpu": ["tensorflow[and-cuda]>=2.20,<2.21"],
        "tpu": ["tensorflow-tpu>=2.19"],
        "camtrapdp": ["frictionless>=5.16"],
    },
)
