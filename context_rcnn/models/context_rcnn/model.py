"""The interface of Context R-CNN to the rest of the package."""

import copy
from collections.abc import Mapping
from typing import Any, cast

import tensorflow as tf

from context_rcnn import configs
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.memory_bank.encoding import Variant
from context_rcnn.memory_bank.window import Horizon
from context_rcnn.models.context_rcnn import slim
from context_rcnn.models.context_rcnn.attention import detect_with_attention
from context_rcnn.models.context_rcnn.memory import build_context_rcnn
from context_rcnn.models.context_rcnn.stream import ContextStream
from context_rcnn.models.streaming import Extract
from context_rcnn.models.temporal import BankFacts, TemporalModel

WHERE = "task.temporal.context_rcnn.long_term"


class ContextRcnnModel(TemporalModel):
    """Attention of each box to the camera's memory bank and to the boxes of nearby frames."""

    @property
    def window(self) -> int:
        return max(1, self.settings.short_term.window)

    @property
    def _long_term(self) -> bool:
        return self.settings.long_term.enabled

    def build(self, model: configs.FasterRcnn, *, weight_decay: float = 0.0) -> TwoStageDetector:
        return build_context_rcnn(model, self.settings, weight_decay=weight_decay)

    def memory_spec(self, frames: int) -> dict[str, tf.TensorSpec]:
        spec = super().memory_spec(frames)
        if not self._long_term:
            return spec
        size = self.settings.long_term.entry_size
        if not size:
            raise ValueError(f"{WHERE}.entry_size must be set")
        return spec | {
            "context_features": tf.TensorSpec([None, None, size], tf.float32),
            "context_valid": tf.TensorSpec([None, None], tf.bool),
        }

    def bound_to(self, bank: BankFacts | None) -> "ContextRcnnModel":
        if not self._long_term:
            return self
        settings = copy.deepcopy(self.settings)
        long_term = settings.long_term
        if bank is None:
            if not long_term.entry_size:
                raise ValueError(
                    f"{WHERE} attends to a memory bank: set task.memory.bank, or {WHERE}.enabled "
                    "to false"
                )
            return self
        for name in ("entry_size", "extractor"):
            expected, value = getattr(long_term, name), getattr(bank, name)
            if expected and expected != value:
                raise ValueError(
                    f"{WHERE}.{name} is {expected}, but the bank {bank.name} has {value}: "
                    "the model needs a bank made by the extractor it was trained with"
                )
            setattr(long_term, name, value)
        long_term.top_k = long_term.top_k or bank.top_k
        return self.with_settings(settings)

    def stream(
        self, detector: TwoStageDetector, extract: Extract | None = None
    ) -> ContextStream | None:
        if not self._long_term:
            return ContextStream(detector, None)
        if extract is None:
            return None
        return ContextStream(
            detector,
            extract,
            capacity=self.memory.max_entries,
            top_k=self.settings.long_term.top_k or 1,
            horizon=cast(Horizon, self.memory.horizon),
            calendar=self.memory.calendar,
            include_keyframe=self.memory.include_keyframe,
            variant=cast(Variant, self.memory.variant),
        )

    def describe(self) -> dict[str, Any]:
        settings, memory = self.settings, self.memory
        said: dict[str, Any] = {"memory": None, "short_term_window": settings.short_term.window}
        if self._long_term:
            long_term = settings.long_term
            said["memory"] = {
                "entry_size": long_term.entry_size,
                "depth": settings.depth,
                "blocks": long_term.heads * long_term.layers,
                "encoding_variant": memory.variant,
                "horizon": memory.horizon,
                "calendar": memory.calendar,
                "causal": memory.causal,
                "include_keyframe": memory.include_keyframe,
                "policy": memory.policy,
                "max_entries": memory.max_entries,
                "top_k": long_term.top_k or None,
            }
        return said

    @property
    def extractor_hash(self) -> str:
        return self.settings.long_term.extractor if self._long_term else ""

    def check_single_images(self, what: str) -> None:
        """Short-term attention has the frame's own boxes at least."""

    def attended(
        self,
        detector: TwoStageDetector,
        images: tf.Tensor,
        shapes: tf.Tensor,
        memory: Mapping[str, tf.Tensor],
        top: int,
    ) -> dict[str, tf.Tensor]:
        return detect_with_attention(detector, images, shapes, memory, top=top)

    def of_slim(self, source: Any) -> "ContextRcnnModel":
        return self.with_settings(slim.settings_of(source, copy.deepcopy(self.settings)))

    def fill_from_slim(self, detector: TwoStageDetector, source: Any) -> None:
        slim.fill(detector.box_memory, source)


MODEL = ContextRcnnModel
