"""tf.Example and TFRecord as bytes, as far as banks need them, without TensorFlow.

Written here and not by protobuf for one reason: the position of a field inside a file has to be
known, so that features can be used where they lie, aligned, without being read.

A TFRecord frame is: length (uint64), its checksum, the record, its checksum. A tf.Example is a map
from names to lists; those of bytes and of integers are supported.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence

import google_crc32c
import numpy as np

Buffer = bytes | memoryview
Value = Sequence[Buffer] | int

HEADER_BYTES, FOOTER_BYTES = 12, 4

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_BYTES_LIST, _INT64_LIST = 1, 3


def encode_example(fields: Mapping[str, Value]) -> list[Buffer]:
    """Parts that, joined, are a serialized tf.Example with its fields in the given order.

    The last part is the last value of the last field; large values are not copied.
    """
    entries: list[Buffer] = []
    for name, value in fields.items():
        if isinstance(value, int):
            feature = _delimited(_INT64_LIST, _delimited(1, [_varint(value)]))
        else:
            values = [part for item in value for part in _delimited(1, [item])]
            feature = _delimited(_BYTES_LIST, values)
        entries += _delimited(1, [*_delimited(1, [name.encode()]), *_delimited(2, feature)])
    return _delimited(1, entries)


def decode_example(data: memoryview) -> dict[str, list[memoryview] | list[int]]:
    """Fields of a serialized tf.Example; byte values are views into `data`.

    Raises:
        ValueError: If the bytes are not a tf.Example of byte and integer lists.
    """
    fields = {}
    for features in _members(data, 1):
        for entry in _members(features, 1):
            (name,), (feature,) = _members(entry, 1), _members(entry, 2)
            fields[bytes(name).decode()] = _decode_feature(feature)
    return fields


def frame(record: Sequence[Buffer]) -> list[Buffer]:
    """Parts of a TFRecord frame around the parts of a record."""
    length = struct.pack("<Q", total_bytes(record))
    return [length, _checksum([length]), *record, _checksum(record)]


def unframe(data: memoryview, check: bool) -> memoryview:
    """The record inside a frame.

    Args:
        data: Exactly one frame.
        check: Compare the checksum of the record too, which reads all of it.

    Raises:
        ValueError: If the frame is cut off or damaged.
    """
    if len(data) < HEADER_BYTES + FOOTER_BYTES:
        raise ValueError("the record is cut off")
    length = data[:8]
    if data[8:HEADER_BYTES] != _checksum([length]):
        raise ValueError("the record has a damaged length")
    (size,) = struct.unpack("<Q", length)
    if size != len(data) - HEADER_BYTES - FOOTER_BYTES:
        raise ValueError(f"the record says it has {size} bytes, {len(data)} with frame are there")
    record = data[HEADER_BYTES:-FOOTER_BYTES]
    if check and data[-FOOTER_BYTES:] != _checksum([record]):
        raise ValueError("the record does not match its checksum")
    return record


def total_bytes(parts: Sequence[Buffer]) -> int:
    return sum(len(part) for part in parts)


def _decode_feature(feature: memoryview) -> list[memoryview] | list[int]:
    for number, _, value in _walk(feature):
        if number == _BYTES_LIST:
            return _members(value, 1)
        if number == _INT64_LIST:
            return [integer for packed in _members(value, 1) for integer in _varints(packed)]
        raise ValueError(f"a list of kind {number} is not supported")
    return []


def _delimited(number: int, parts: Sequence[Buffer]) -> list[Buffer]:
    return [_varint(number << 3 | _DELIMITED) + _varint(total_bytes(parts)), *parts]


def _members(data: memoryview, number: int) -> list[memoryview]:
    """Length-delimited fields with this number."""
    return [value for found, kind, value in _walk(data) if found == number and kind == _DELIMITED]


def _walk(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number, wire type and content of each field of a message."""
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        kind = key & 7
        if kind == _DELIMITED:
            size, position = _read_varint(data, position)
        elif kind == _VARINT:
            size = _read_varint(data, position)[1] - position
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} at byte {position}: not a tf.Example")
        if position + size > len(data):
            raise ValueError(f"a field at byte {position} is cut off")
        yield key >> 3, kind, data[position : position + size]
        position += size


def _varints(data: memoryview) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = _read_varint(data, position)
        yield value - (1 << 64) if value >> 63 else value


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """Value, and the position behind it."""
    value = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError(f"a number at byte {position} is cut off")


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _checksum(parts: Sequence[Buffer]) -> bytes:
    crc = 0
    for part in filter(len, parts):
        crc = google_crc32c.extend(crc, np.frombuffer(part, np.uint8))
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
