"""Flags for Beam."""

import pathlib
import re
import shlex

import pytest

from beam_pipelines import build_memory_bank
from beam_pipelines.running import make_pipeline_options

SCALING = pathlib.Path(__file__).parents[2] / "docs" / "scaling.md"


def documented():
    """Every `context-rcnn remember` of the page, as a list of words."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", SCALING.read_text(), flags=re.S | re.M)
    commands = [shlex.split(block.replace("\\\n", " ")) for block in blocks]
    return [words[2:] for words in commands if words[:2] == ["context-rcnn", "remember"]]


@pytest.mark.parametrize("words", documented(), ids=lambda words: words[-1])
def test_the_commands_of_the_page_are_understood(words):
    args, for_beam = build_memory_bank.build_parser().parse_known_args(words)
    assert args.output_dir and (args.examples or args.input_folder)
    make_pipeline_options(for_beam)


def test_the_page_has_every_runner():
    text = " ".join(word for words in documented() for word in words)
    for runner in ("FlinkRunner", "SparkRunner", "DataflowRunner", "multi_processing"):
        assert runner in text


def test_a_runner_that_loses_data_is_refused():
    with pytest.raises(ValueError, match="drops steps"):
        make_pipeline_options(["--runner=apache_beam.runners.dask.dask_runner.DaskRunner"])
