"""The settings of post-processing are the options of what they choose."""

import dataclasses

import pytest

from context_rcnn import configs
from context_rcnn.evaluation.overlaps import NmsOptions
from context_rcnn.evaluation.repeat_detections import RepeatDetectionOptions
from context_rcnn.evaluation.seq_nms import SeqNmsOptions
from context_rcnn.evaluation.viterbi import ViterbiOptions


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (configs.SeqNms, SeqNmsOptions),
        (configs.RepeatDetections, RepeatDetectionOptions),
        (configs.Viterbi, ViterbiOptions),
        (configs.Nms, NmsOptions),
    ],
)
def test_settings_have_the_options_names_and_defaults(settings, options):
    """Options live beside their algorithm, which runs without tf-models-official; hence twice."""
    chosen = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings().as_dict().items()
    }
    assert chosen == dataclasses.asdict(options())
