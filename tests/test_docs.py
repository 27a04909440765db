"""Every command that the pages show is one that the programs understand."""

import contextlib
import importlib
import io
import pathlib
import re
import shlex

import pytest
from absl import flags
from absl.testing import flagsaver

from beam_pipelines.running import make_pipeline_options
from context_rcnn import cli, model_main_tf2

ROOT = pathlib.Path(__file__).parents[1]
BEAM_VERBS = {
    "examples": "create_examples",
    "remember": "build_memory_bank",
    "features": "store_features",
}


def documented():
    """The page, the module under beam_pipelines or none, and the words of every command shown."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), flags=re.S | re.M):
            for line in re.sub(r"[\\^]\n", " ", block).splitlines():
                if not re.match(r"context-rcnn |python -m beam_pipelines\.", line):
                    continue
                # A backslash in what is left is Windows', and a comment may follow.
                words = shlex.split(line.replace("\\", "/"), comments=True)
                words = [word for word in words if word != "..."]
                if words[0] == "context-rcnn":
                    yield page.name, BEAM_VERBS.get(words[1]), words[1:]
                else:
                    yield page.name, words[2].rpartition(".")[2], words[2:]


def test_the_pages_have_commands():
    verbs = {words[0] for _, _, words in documented()}
    assert {"detect", "results", "watch", "report", "export", "bank", "remember", "train"} <= verbs


@pytest.mark.parametrize("page, module, words", documented(), ids=str)
def test_the_commands_of_the_pages_are_understood(page, module, words):
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            if words[0] == "train":
                understood_by_train(words)
            elif module:
                pipeline = importlib.import_module(f"beam_pipelines.{module}")
                _, for_beam = pipeline.build_parser().parse_known_args(words[1:])
                make_pipeline_options(for_beam)
            else:
                args, unknown = cli.build_parser().parse_known_args(words)
                if getattr(args, "passes_flags_on", False):
                    make_pipeline_options(unknown)
                else:
                    assert not unknown
    except SystemExit:
        pytest.fail(complaint.getvalue())


def understood_by_train(words):
    """Parses the flags of `train`, which are absl's, and the settings where no file is needed."""
    with flagsaver.flagsaver():
        flags.FLAGS([word.removesuffix(",...") for word in words])
        if not flags.FLAGS.config_file and not flags.FLAGS.pipeline_config_path:
            model_main_tf2.configure()


@pytest.mark.parametrize(
    "wrong", ["--model_folder=runs", "--params_override=task.memory.bnk=bank,..."]
)
def test_wrong_flags_and_settings_of_train_are_noticed(wrong):
    with pytest.raises((flags.Error, ValueError)):
        understood_by_train(["train", "--experiment=context_rcnn_c4", wrong])


def test_the_page_of_scaling_has_every_runner():
    text = " ".join(
        word for page, _, words in documented() for word in words if page == "scaling.md"
    )
    for runner in ("FlinkRunner", "SparkRunner", "DataflowRunner", "multi_processing"):
        assert runner in text
