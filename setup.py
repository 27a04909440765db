"""Installs `context_rcnn`, `beam_pipelines`, `tpu` and the command `context-rcnn`."""

import pathlib
import re

from setuptools import find_packages, setup

# The core: an exported model on photographs and videos, results, reports and banks. Every line has
# wheels for Windows, macOS and Linux. TensorFlow's minor version is the one that tf-models-official
# of `train` fixes, so that adding an extra never changes it; constraints.txt pins the whole set.
CORE = [
    "tensorflow>=2.20,<2.21",
    "numpy>=1.26",
    "ml-dtypes>=0.5",  # bfloat16 for NumPy; TensorFlow brings it too
    "google-crc32c>=1.5",  # checksums of memory banks
    "pillow>=11",
    "opencv-python-headless>=4.8",  # videos
    "pycocotools>=2.0.8",
    "tqdm>=4.66",
    "matplotlib>=3.8",
    "jinja2>=3.1",
]

# context_rcnn/extras.py says what each is for.
EXTRAS = {
    "train": [
        "tf-models-official>=2.20,<2.21",
        "tf-keras>=2.20,<2.21",
        "pyyaml>=6",
        # For tensorflow-datasets. Without a bound Python 3.10 gets one that protobuf 6 cannot read.
        "tensorflow-metadata>=1.10",
        # End of life, and without wheels elsewhere; context_rcnn/addons.py is the only door to it.
        "tensorflow-addons>=0.23,<0.24; python_version < '3.12' and sys_platform != 'win32' "
        "and platform_machine != 'aarch64'",
    ],
    "beam": ["apache-beam>=2.60"],
    "reid": ["scipy>=1.13", "scikit-learn>=1.4"],
    "camtrapdp": ["frictionless>=5.16"],
    "heic": ["pillow-heif>=0.22"],
    "gpu": ["tensorflow[and-cuda]>=2.20,<2.21"],
    "test": ["pytest>=8", "pytest-xdist>=3.8", "hypothesis>=6.100", "ruff>=0.6", "mypy>=2"],
}
EXTRAS["all"] = [
    line for name in ("train", "beam", "reid", "camtrapdp", "heic", "test") for line in EXTRAS[name]
]

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
    install_requires=CORE,
    extras_require=EXTRAS,
)
