"""What is asked of a model, and how it is run so that an image's result is its own."""

import dataclasses
import datetime
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from context_rcnn.data.failures import Reason
from context_rcnn.data.paths import FileError
from context_rcnn.memory_bank.encoding import SIZE, Variant, check_variant
from context_rcnn.memory_bank.window import WindowOptions
from context_rcnn.results.records import CREATED_FORMAT, Header

Outputs = dict[str, np.ndarray]


class Model(Protocol):
    """What `export.exported.ExportedModel` has.

    Attributes:
        description: the export's model.json.
        class_names: names of the classes by id.
        has_memory: whether it attends to a memory bank.
        extractor_hash: hash of the extractor that fills it, "" without one.
    """

    @property
    def description(self) -> Mapping[str, Any]: ...

    @property
    def class_names(self) -> Mapping[int, str]: ...

    @property
    def has_memory(self) -> bool: ...

    @property
    def extractor_hash(self) -> str: ...

    def detect(self, encoded: Sequence[bytes]) -> Outputs:
        """`boxes` [n, k, 4] y1 x1 y2 x2 in 0..1, `scores` [n, k], -1 in padding, `classes`."""

    def extract(self, encoded: Sequence[bytes]) -> Outputs:
        """`features` [n, b, depth] and their `boxes`, `scores`, `classes`, best first."""

    def project(self, context_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys and values [blocks, m, depth] of entries [m, size]."""

    def detect_with_projected(
        self, encoded: Sequence[bytes], keys: np.ndarray, values: np.ndarray, valid: np.ndarray
    ) -> Outputs:
        """As `detect`, with keys and values [1, blocks, m, depth], of which valid [n, m] count."""

    def explain_with_projected(
        self, encoded: Sequence[bytes], keys: np.ndarray, values: np.ndarray, valid: np.ndarray
    ) -> Outputs:
        """The same, with `attention_index` into the m, and `attention_weight`; [n, k, entries]."""


def header_of(
    model: Model, settings: Mapping[str, Any], *, memory: bool, created: str = ""
) -> Header:
    """What a journal says about the model that made it.

    Args:
        model: model that was run.
        settings: everything else that changes results.
        memory: whether its memory was used.
        created: when the journal was begun; by default now.
    """
    now = datetime.datetime.now(datetime.timezone.utc).strftime(CREATED_FORMAT)
    return Header(
        model=model.description.get("name") or "context-rcnn",
        model_version=model.description["version"],
        extractor_hash=model.extractor_hash if memory else "",
        label_map=model.class_names,
        created=created or now,
        settings={"model_hash": model.description["hash"], **settings},
    )


def video_stream(description: Mapping[str, Any]) -> dict[str, Any] | None:
    """What model.json says of a stream of videos; None if the model detects in photographs.

    A stream that asks for times is one of cameras, whose photographs it remembers.
    """
    stream = description["stream"]
    return None if stream is None or "seconds" in stream["inputs"] else stream


def check_takes_images(model: Model, otherwise: str = "") -> None:
    """Refuses a model of videos, which would see single images without what it remembers.

    Raises:
        ValueError: If it is one; `otherwise` says what else can be done.
    """
    if video_stream(model.description):
        raise ValueError(
            "this model works on videos frame by frame: run it with `context-rcnn videos`"
            f"{otherwise}"
        )


def check_fills_memory(model: Model) -> None:
    """Refuses a model with a memory that it cannot fill itself.

    Raises:
        ValueError: If it is one.
    """
    if model.has_memory and not model.extractor_hash:
        raise ValueError(
            "the model attends to a memory, but was exported without the extractor that fills it: "
            "export it again with --extractor"
        )


@dataclasses.dataclass(frozen=True)
class MemorySettings:
    """The memory that a model was trained with.

    Attributes:
        window: window of a camera's bank that an image sees.
        max_entries: largest number of entries in a window.
        variant: encoding of place and time in the entries.
        depth: depth of the stored features.
        source: tensor of the extractor that the features come from.
    """

    window: WindowOptions
    max_entries: int
    variant: Variant
    depth: int
    source: str

    @classmethod
    def of(cls, model: Model) -> "MemorySettings":
        """As a model's description says.

        Raises:
            ValueError: If it cannot be used: without an extractor no memory can be filled.
        """
        memory: Any = model.description.get("memory")
        extractor = model.description.get("extractor")
        if not extractor:
            raise ValueError(
                "the model attends to a memory, but was exported without the extractor that fills "
                "it: export it again with --extractor, or detect with --no_memory"
            )
        if memory["entry_size"] != extractor["depth"] + SIZE:
            raise ValueError(
                f"the model's memory has entries of {memory['entry_size']} numbers, its extractor "
                f"makes {extractor['depth'] + SIZE}"
            )
        check_variant(memory["encoding_variant"])
        names = [field.name for field in dataclasses.fields(WindowOptions)]
        return cls(
            WindowOptions(**{name: memory[name] for name in names if name in memory}),
            memory["max_entries"],
            memory["encoding_variant"],
            extractor["depth"],
            extractor["source"],
        )


def run(
    call: Callable[..., Outputs],
    encoded: Sequence[Any],
    batch_size: int,
    keys: np.ndarray | None = None,
    values: np.ndarray | None = None,
    valid: np.ndarray | None = None,
) -> list[Outputs | FileError]:
    """What a method of a model gives for each image, or why it gives nothing.

    The batch is always `batch_size` long: shorter ones are filled up with copies. With the same
    number of rows a network gives an image the same numbers, bit by bit, whatever stands in the
    other rows; with another number of rows it adds up in another order.

    Args:
        call: the method.
        encoded: images, at most `batch_size`, in whatever form the method takes one.
        batch_size: rows of each call.
        keys, values, valid: tensors of a memory, with one row of `valid` per image.
    """
    fill = [min(i, len(encoded) - 1) for i in range(batch_size)]
    rows = [encoded[i] for i in fill]
    memory = () if valid is None else (keys, values, valid[fill])
    try:
        outputs = call(rows, *memory)
    except refusals() as error:
        if len(encoded) == 1:
            return [refused(error)]
        alone = []
        for i, image in enumerate(encoded):
            own = () if valid is None else (keys, values, valid[i : i + 1])
            alone += run(call, [image], batch_size, *own)
        return alone
    return [
        checked({name: value[i] for name, value in outputs.items()}) for i in range(len(encoded))
    ]


def checked(outputs: Outputs) -> Outputs | FileError:
    """Outputs of an image, unless they hold what is no number."""
    for name in ("features", "boxes", "scores"):
        if name in outputs and not np.isfinite(outputs[name]).all():
            return FileError(Reason.NOT_FINITE, f"the {name} hold NaN or infinity")
    return outputs


def refusals() -> tuple[type[Exception], ...]:
    """What a model raises for an image that it cannot read. Other errors are no image's fault."""
    tensorflow = sys.modules.get("tensorflow")
    return (tensorflow.errors.InvalidArgumentError, UnicodeDecodeError) if tensorflow else ()


def refused(error: Exception) -> FileError:
    """One of the `refusals` as the reason why an image cannot be used."""
    return FileError(Reason.UNREADABLE, str(error).splitlines()[0][:200])
