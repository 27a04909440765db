"""Learning on stored images: what a detector, frozen up to its box features, saw of them once.

`task.learn_on: features` computes what `task.freeze: [backbone, first_stage, box_head]` computes on
the images, without the frozen part: batches hold stored images (`detectors.stored`) in place of
pixels, from the store that `context-rcnn features` fills. All else stays: labels and clips come
from the examples, the memory from its bank, and a checkpoint holds the whole detector.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from context_rcnn import configs
from context_rcnn.detectors import stored
from context_rcnn.detectors.embedder import EmbedderBoxHead
from context_rcnn.detectors.freezing import parts_of
from context_rcnn.detectors.two_stage import IdentityPort, TwoStageDetector
from context_rcnn.memory_bank.stored_images import ImageStore
from context_rcnn.tasks import inputs as task_inputs

IMAGES, FEATURES = CHOICES = ("images", "features")


def why_not(detector: TwoStageDetector) -> str:
    """Why pooled box features cannot stand for an image, or "" if they can."""
    ours = type(detector)
    if not isinstance(detector.map_memory, IdentityPort):
        return f"its layer {detector.map_memory.name} works on maps"
    if ours.features is not TwoStageDetector.features or ours.look is not TwoStageDetector.look:
        return f"{ours.__name__} makes box features in a way of its own, from maps"
    if detector.memory_on_crops:
        return f"its layer {detector.box_memory.name} works on crops of the maps"
    if not getattr(detector.box_memory, "per_channel", False):
        return f"its layer {detector.box_memory.name} does not say that it works `per_channel`"
    if detector.rpn_head is None and not isinstance(detector.box_head, EmbedderBoxHead):
        return "its proposals are given with each image (task.model.proposals.source)"
    if not detector.box_predictor.variables:
        return "its scores are made on maps, so that its predictor has nothing to learn"
    if not detector.box_predictor.pools:
        return "its predictor has dense layers (task.model.boxes.hidden) on whole crops"
    return ""


def frozen_parts(detector: TwoStageDetector) -> list[str]:
    """What is frozen in learning on features: all that comes before the box features."""
    known = ("backbone", "pyramid", "neck", "first_stage", "box_head")
    return [name for name in parts_of(detector) if name in known]


def fingerprint(detector: TwoStageDetector, model: configs.FasterRcnn) -> str:
    """A hash of all that decides what a detector sees in an image."""
    parts = parts_of(detector)
    layers = [layer for name in frozen_parts(detector) for layer in parts[name]]
    return stored.fingerprint(layers, model)


class Features:
    """What `task.learn_on` and `task.features` ask for.

    Args:
        params: settings of the detection task.

    Attributes:
        used: whether stored images stand for images.
    """

    def __init__(self, params: configs.DetectionTask):
        if params.learn_on not in CHOICES:
            raise ValueError(
                f"task.learn_on must be one of {', '.join(CHOICES)}, got {params.learn_on!r}"
            )
        self.used = params.learn_on == FEATURES
        self._params = params
        self._opened: ImageStore | None = None
        self._checked = False
        self._depth = 0

    def frozen_parts(self, detector: TwoStageDetector) -> list[str]:
        """What is frozen because of it; a ValueError if the detector cannot learn on features."""
        if not self.used:
            return []
        if reason := why_not(detector):
            raise ValueError(
                "task.learn_on is features, on which a detector with task.temporal.type "
                f"{self._params.temporal.type} cannot learn: {reason}"
            )
        self._depth = detector.box_predictor.heads[0].kernel.shape[0]
        return frozen_parts(detector)

    def check(self, detector: TwoStageDetector) -> None:
        """Raises a ValueError if the store is not of this detector, whose weights are loaded."""
        if not self.used or not self._params.features or self._checked:
            return
        found, ours = self._store().bank.info, fingerprint(detector, self._params.model)
        if found.extractor_hash != ours:
            raise ValueError(
                f"task.features: {self._params.features} was filled by a detector with the hash "
                f"{found.extractor_hash}, this one has {ours}: task.init_checkpoint and task.model "
                "must be those of the run that `context-rcnn features` was given"
            )
        self._checked = True

    def stored_input(self, data: configs.Data) -> "StoredInput | None":
        """What makes stored images for an input, or None if it has pixels."""
        if not self.used:
            return None
        store = self._store()
        if data.is_training and data.flip_probability and not store.mirrored:
            raise ValueError(
                f"task.train_data.flip_probability is {data.flip_probability}, but "
                f"{self._params.features} holds no mirror images, which a detector sees with other "
                "proposals: set it to 0, or run `context-rcnn features` with --mirrored"
            )
        return StoredInput(store, self._params.model.proposals.count, self._labelled(data))

    def dummy_images(
        self, images: int, size: tuple[int, int], data: configs.Data
    ) -> dict[str, tf.Tensor]:
        """Black images as a batch has them, or stored images full of zeros."""
        made = task_inputs.dummy_images(images, size)
        if self.used:
            boxes = self._params.model.proposals.count + self._labelled(data)
            made["image"] = tf.zeros([images, boxes, self._depth + stored.COLUMNS])
        return made

    def _labelled(self, data: configs.Data) -> int:
        return data.max_boxes if data.is_training else 0

    def _store(self) -> ImageStore:
        if self._opened is None:
            if not self._params.features:
                raise ValueError(
                    "task.learn_on is features: set task.features to a store of images "
                    "(`context-rcnn features`)"
                )
            self._opened = ImageStore(self._params.features)
        return self._opened


class StoredInput:
    """Stored images in place of pixels, in tf.data.

    Args:
        store: store of images.
        proposals: number of proposals per image, padding included.
        labelled: number of labelled boxes per image, padding included; 0 leaves them out.
    """

    def __init__(self, store: ImageStore, proposals: int, labelled: int):
        self._store = store
        self._proposals = proposals
        self._labelled = labelled
        self._shape = [proposals + labelled, store.bank.info.depth + stored.COLUMNS]

    def __call__(
        self,
        example: Mapping[str, tf.Tensor],
        boxes: tf.Tensor,
        shape: tf.Tensor,
        mirrored: tf.Tensor,
    ) -> tf.Tensor:
        """A stored image, float32 [proposals + labelled, depth + 5].

        Args:
            example: parsed example of the image.
            boxes: [n, 4] its labelled boxes, mirrored if the image is.
            shape: [2] height and width of the resized image.
            mirrored: bool, whether to take the mirror image.
        """
        row = tf.numpy_function(
            self.read, [example["image_id"], boxes, mirrored], tf.float32, stateful=False
        )
        row = tf.ensure_shape(row, self._shape)
        features, corners, scores = stored.split(row)
        corners *= tf.tile(shape, [2])
        return tf.concat([features, corners, scores[:, None]], axis=1)

    def read(self, image_id: bytes, boxes: np.ndarray, mirrored: bool) -> np.ndarray:
        """The same, with boxes as fractions of the image."""
        seen = self._store.read(image_id.decode(), bool(mirrored))
        row = np.zeros(self._shape, np.float32)
        proposals = seen.part(labelled=False)
        count = len(proposals[0])
        if count > self._proposals:
            raise ValueError(
                f"{self._store.bank.folder}: image {seen.image_id!r} has {count} proposals, "
                f"task.model.proposals.count is {self._proposals}"
            )
        _fill(row[:count], *proposals)
        if self._labelled:
            known, scores, features = seen.part(labelled=True)
            # A box without area teaches nothing.
            boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
            if len(boxes) != len(known) or not np.allclose(boxes, known, rtol=0, atol=1e-5):
                raise ValueError(
                    f"{self._store.bank.folder}: the labels of image {seen.image_id!r} are not "
                    "those of the store; run `context-rcnn features` on its examples again"
                )
            _fill(row[self._proposals :][: len(boxes)], boxes, scores, features)
        return row


def _fill(rows: np.ndarray, boxes: np.ndarray, scores: np.ndarray, features: np.ndarray) -> None:
    rows[:, : -stored.COLUMNS] = features
    rows[:, -stored.COLUMNS : -1] = boxes
    rows[:, -1] = scores
