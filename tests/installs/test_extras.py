"""What `setup.py` installs, what the command says about it, and what is pinned, are the same."""

import ast
import pathlib
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from context_rcnn import extras

ROOT = pathlib.Path(__file__).parents[2]
# Packages of an extra that doctor does not look for: others bring them along, or can do without.
BROUGHT_ALONG = {
    "gpu": {"tensorflow"},  # with NVIDIA's libraries, of which it looks for one
    "test": {"pytest-xdist"},
    "train": {"tensorflow-addons", "tensorflow-metadata"},
}


def setup_tables():
    """`CORE` and `EXTRAS` of setup.py as requirements, without running it."""
    tables = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "setup.py").read_text()).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("CORE", "EXTRAS")
    }
    core = [Requirement(line) for line in tables["CORE"]]
    return core, {
        name: [Requirement(line) for line in lines] for name, lines in tables["EXTRAS"].items()
    }


def pins(python="3.11", system="linux", machine="x86_64"):
    """The versions of constraints.txt on a system."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": system,
        "platform_system": {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[system],
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    lines = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]
    valid = [line for line in lines if not line.marker or line.marker.evaluate(environment)]
    found = {canonicalize_name(line.name): line.specifier for line in valid}
    assert len(found) == len(valid), "a package is pinned twice"
    return found


def test_doctor_knows_what_setup_installs():
    core, others = setup_tables()
    assert {line.name for line in core} == set(extras.CORE)
    assert set(others) == set(extras.EXTRAS) - {"tpu"}
    for name, lines in others.items():
        known = set(extras.EXTRAS[name].modules.values()) - {"nvidia-cudnn-cu12"}
        assert {line.name for line in lines} == known | BROUGHT_ALONG.get(name, set())


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_every_requirement_is_pinned_within_its_bounds(python, system):
    core, others = setup_tables()
    pinned = pins(python, system)
    for line in [*core, *(line for lines in others.values() for line in lines)]:
        if line.marker and not line.marker.evaluate(
            {"python_version": python, "sys_platform": system, "platform_machine": "x86_64"}
        ):
            continue
        (pin,) = pinned[canonicalize_name(line.name)]
        assert pin.operator == "==" and line.specifier.contains(pin.version), line


def test_the_list_for_tpus_has_one_tensorflow():
    script = ROOT / "tpu/install.sh"
    listed = subprocess.run(["bash", script, "--list"], capture_output=True, text=True, check=True)
    lines = [Requirement(line) for line in listed.stdout.splitlines()]
    names = {canonicalize_name(line.name) for line in lines}
    assert "tensorflow" not in names and {"tensorflow-tpu", "libtpu"} <= names
    everywhere = {
        canonicalize_name(Requirement(line).name)
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    assert names == everywhere - {"tensorflow"} | {"tensorflow-tpu", "libtpu"}
    (tpu,) = [line.specifier for line in lines if line.name == "tensorflow-tpu"]
    assert tpu == pins()["tensorflow"]


def test_commands_are_quoted_for_every_shell(monkeypatch):
    assert extras.install_command("train") == 'pip install "context-rcnn[train]"'
    monkeypatch.setattr(sys, "platform", "win32")
    assert extras.install_command("beam") == 'pip install "context-rcnn[beam]"'
    assert "WSL 2" in extras.install_command("train")


def test_only_what_an_extra_brings_is_explained():
    def missing(name):
        return ModuleNotFoundError(f"No module named {name!r}", name=name)

    assert "pip install context-rcnn" in extras.explain(missing("cv2"))
    assert "opencv-python-headless" in extras.explain(missing("cv2"))
    assert "apache-beam" in extras.explain(missing("apache_beam.io.filesystems"))
    assert extras.explain(missing("context_rcnn.nowhere")) is None
    assert extras.explain(ModuleNotFoundError("no name")) is None
