"""A run of a camera's entries as one record: a tf.Example in a TFRecord frame.

Everything of fixed width is one value of raw little-endian bytes, which NumPy maps and
`tf.io.decode_raw` reads:

    bank/camera     name of the camera
    bank/segment    int64, place of this record among those of the camera
    bank/dtype      storage dtype of the features
    bank/boxes      float32 [n, 4] ymin, xmin, ymax, xmax as fractions of the image
    bank/scores     float32 [n]
    bank/seconds    int64 [n] wall-clock seconds since 1970, time-zone free; 0 where undated
    bank/dated      uint8 [n]
    bank/ranks      int32 [n] place among the entries of the image
    bank/classes    int32 [n]
    bank/scales     float32 [n], only for int8
    bank/image_ids  n strings
    bank/padding    zeros, so that the features begin at a multiple of 64 bytes in the file
    bank/features   storage dtype [n, depth], the last bytes of the record
"""

import dataclasses
from typing import Any

import numpy as np

from context_rcnn.memory_bank import wire
from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.features import storage_dtype

MAX_ENTRIES = 4096
MAX_FEATURE_BYTES = 32 << 20
ALIGNMENT = 64

_CAMERA, _SEGMENT, _DTYPE = "bank/camera", "bank/segment", "bank/dtype"
_IMAGE_IDS, _PADDING, _FEATURES = "bank/image_ids", "bank/padding", "bank/features"
_SCALES = "bank/scales"
_COLUMNS: dict[str, tuple[str, np.dtype]] = {
    "bank/boxes": ("boxes", np.dtype("<f4")),
    "bank/scores": ("scores", np.dtype("<f4")),
    "bank/seconds": ("seconds", np.dtype("<i8")),
    "bank/dated": ("dated", np.dtype("u1")),
    "bank/ranks": ("ranks", np.dtype("<i4")),
    "bank/classes": ("classes", np.dtype("<i4")),
    _SCALES: ("scales", np.dtype("<f4")),
}


@dataclasses.dataclass(frozen=True)
class Segment:
    """What one record holds."""

    camera: str
    number: int
    dtype: str
    entries: Entries


def entries_per_segment(depth: int, dtype: str) -> int:
    """As many as keep a record moderate, one at least."""
    return max(1, min(MAX_ENTRIES, MAX_FEATURE_BYTES // (depth * storage_dtype(dtype).itemsize)))


def encode_segment(segment: Segment, offset: int) -> list[wire.Buffer]:
    """Parts of the frame of a segment that will begin at this byte of its file."""
    entries = segment.entries
    fields: dict[str, wire.Value] = {
        _CAMERA: [segment.camera.encode()],
        _SEGMENT: segment.number,
        _DTYPE: [segment.dtype.encode()],
    }
    for key, (name, dtype) in _COLUMNS.items():
        values = getattr(entries, name)
        if values is not None:
            fields[key] = [values.astype(dtype).tobytes()]
    fields[_IMAGE_IDS] = [image_id.encode() for image_id in entries.image_ids]
    features = np.ascontiguousarray(entries.features, storage_dtype(segment.dtype))
    payload = features.view(np.uint8).reshape(-1).data
    padding = 0
    while True:  # more padding can lengthen the lengths in front of it, at most twice
        values = {_PADDING: [bytes(padding)], _FEATURES: [payload]}
        record = wire.encode_example({**fields, **values})
        start = offset + wire.HEADER_BYTES + wire.total_bytes(record) - len(payload)
        if start % ALIGNMENT == 0:
            return wire.frame(record)
        padding += -start % ALIGNMENT


def decode_segment(framed: memoryview, depth: int, check: bool) -> Segment:
    """The segment in a frame; its features stay where they are.

    Args:
        framed: Exactly one frame.
        depth: Depth of the features.
        check: Compare the checksum, which reads everything.

    Raises:
        ValueError: If the frame is damaged or a field is missing or has a wrong length.
    """
    fields = wire.decode_example(wire.unframe(framed, check))
    dtype = _text(fields, _DTYPE)
    columns = {
        name: _array(fields, key, kind)
        for key, (name, kind) in _COLUMNS.items()
        if key != _SCALES or dtype == "int8"
    }
    count = len(columns["seconds"])
    columns["boxes"] = _shaped(columns["boxes"], [count, 4], "bank/boxes")
    columns["dated"] = columns["dated"].astype(bool)
    image_ids = np.empty(len(_field(fields, _IMAGE_IDS)), object)
    image_ids[:] = [bytes(image_id).decode() for image_id in fields[_IMAGE_IDS]]
    features = _array(fields, _FEATURES, storage_dtype(dtype))
    entries = Entries(
        features=_shaped(features, [count, depth], _FEATURES), image_ids=image_ids, **columns
    )
    entries.check_lengths()
    return Segment(_text(fields, _CAMERA), _single(fields, _SEGMENT), dtype, entries)


def _field(fields: dict[str, list], key: str) -> list:
    if key not in fields:
        raise ValueError(f"the record has no {key}")
    return fields[key]


def _single(fields: dict[str, list], key: str) -> Any:
    values = _field(fields, key)
    if len(values) != 1:
        raise ValueError(f"{key}: {len(values)} values, expected 1")
    return values[0]


def _text(fields: dict[str, list], key: str) -> str:
    return bytes(_single(fields, key)).decode()


def _array(fields: dict[str, list], key: str, dtype: np.dtype) -> np.ndarray:
    value = _single(fields, key)
    if len(value) % dtype.itemsize:
        raise ValueError(f"{key}: {len(value)} bytes are no whole number of {dtype.name}")
    return np.frombuffer(value, dtype)


def _shaped(values: np.ndarray, shape: list[int], key: str) -> np.ndarray:
    if values.size != np.prod(shape):
        raise ValueError(f"{key}: {values.size} values, expected {shape[0]} x {shape[1]}")
    return values.reshape(shape)
