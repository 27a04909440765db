"""The losses of both stages of a detector."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from context_rcnn import configs
from context_rcnn.detectors import hard_examples, losses
from context_rcnn.detectors.targets import AnchorTargets
from context_rcnn.detectors.two_stage import by_class

SECOND_STAGE_LOSSES = ("classes", "boxes")
LOSSES = ("objectness", "proposal_boxes", *SECOND_STAGE_LOSSES)


def detection_losses(
    params: configs.DetectionTask, outputs: Mapping[str, Any], anchors: AnchorTargets | None
) -> dict[str, tf.Tensor]:
    """The losses by name, without their weights.

    Args:
        params: settings of the task.
        outputs: outputs of the model in training.
        anchors: what the anchors should say; None leaves the losses of the first stage out.
    """
    drawn, logits = outputs["targets"], outputs["class_logits"]
    offsets = by_class(outputs["box_offsets"], logits.shape[-1])
    offsets = tf.gather(offsets, drawn.classes, batch_dims=2)
    if params.model.boxes.hard_examples != "none":
        lost = hard_examples.box_losses(logits, offsets, drawn, params.losses)
        drawn = hard_examples.choose(params.model.boxes, drawn, lost)
    values = {}
    if anchors is not None:
        rpn = outputs["rpn"]
        values = {
            "objectness": losses.objectness_loss(
                tf.gather(rpn["objectness"], anchors.index, batch_dims=1),
                anchors.objectness,
                anchors.valid,
            ),
            "proposal_boxes": losses.box_loss(
                tf.gather(rpn["box_offsets"], anchors.index, batch_dims=1),
                anchors.box_offsets,
                anchors.objectness > 0,
                anchors.valid,
                params.losses.proposal_delta,
            ),
        }
    return values | {
        "classes": losses.class_loss(logits, drawn.classes, drawn.valid),
        "boxes": losses.box_loss(
            offsets,
            drawn.box_offsets,
            drawn.classes > 0,
            drawn.valid,
            params.losses.box_delta,
        ),
    }
