"""Memories are found by their names, those of other packages too."""

import importlib.metadata
import os
import pathlib
import subprocess
import sys

import pytest

from context_rcnn import configs
from context_rcnn.configs import temporal as settings
from context_rcnn.models import temporal
from tests import recipe

ROOT = pathlib.Path(__file__).parents[2]


def test_every_file_of_settings_has_a_model_of_its_name():
    names = {path.stem for path in (ROOT / "context_rcnn/configs/temporal").glob("[a-z]*.py")}
    assert names and names <= set(settings.registered())
    for name in names:
        model = temporal.make(configs.Temporal(type=name))
        assert model.name == name
        assert type(model).__module__.startswith(f"context_rcnn.models.{name}")


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="there is a memory 'mega' already"):
        temporal.register("mega", settings.registered()["mega"], temporal.TemporalModel)


@pytest.mark.parametrize(
    ("bank", "message"),
    [
        (temporal.BankFacts("b", 11, "other"), "extractor is abc, but the bank b has other"),
        (temporal.BankFacts("b", 11, ""), "extractor is abc, but the bank b has :"),
        (temporal.BankFacts("b", 12, "abc"), "entry_size is 11, but the bank b has 12"),
    ],
)
def test_a_bank_of_another_extractor_is_refused(bank, message):
    chosen = configs.Temporal(type="context_rcnn")
    chosen.override({"context_rcnn": {"long_term": {"entry_size": 11, "extractor": "abc"}}})
    model = temporal.make(chosen)
    with pytest.raises(ValueError, match=message):
        model.bound_to(bank)
    assert model.bound_to(temporal.BankFacts("b", 11, "abc", 3)).settings.long_term.top_k == 3
    assert chosen.get().long_term.top_k == 0


ANNOUNCED = """
import json, sys
import context_rcnn
from context_rcnn.configs import schema
config = schema.load_experiment("faster_rcnn_tiny", overrides="task.temporal.type=last_maps")
from context_rcnn.models import temporal
print(type(temporal.make(config.task.temporal)).__name__, config.as_dict()["task"]["temporal"])
"""


@pytest.mark.whole
def test_an_installed_package_announces_its_memory(tmp_path):
    """As pip leaves it: a module, and metadata with an entry point."""
    (tmp_path / "last_maps.py").write_text(recipe.source())
    info = tmp_path / "last_maps-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: last-maps\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{settings.PLUGINS}]\nlast_maps = last_maps\n")
    assert importlib.metadata.PathDistribution(info).entry_points
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    result = subprocess.run(
        [sys.executable, "-c", ANNOUNCED],
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = "LastMapsModel {'type': 'last_maps', 'last_maps': {'frames': 3}}"
    assert result.stdout.splitlines()[-1] == expected
