"""Records to an open file in TensorFlow's TFRecord framing."""

from typing import BinaryIO

from context_rcnn.memory_bank import wire


class TFRecordWriter:
    """Writes records, and counts them and their bytes."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.records = 0
        self.bytes = 0

    def write(self, record: bytes) -> None:
        frame = wire.frame([record])
        for part in frame:
            self._file.write(part)
        self.bytes += wire.total_bytes(frame)
        self.records += 1
