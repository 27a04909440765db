"""JSON files with one long list, written item by item."""

import json
from typing import Any, TextIO

_dump = json.JSONEncoder(allow_nan=False).encode  # made once: images come by the million


class JsonList:
    """Writes `{"a": ..., "images": [`, items of a line each, and the end.

    All is ASCII, so that no reader can take the encoding for another. Without `before` the list is
    all there is.
    """

    def __init__(self, file: TextIO, before: dict[str, Any] | None = None, key: str = ""):
        self._file = file
        self._separator = "\n"
        self._end = "\n]\n" if before is None else "\n]\n}\n"
        if before is None:
            file.write("[")
            return
        values = [f"{json.dumps(name)}: {_dump(value)}" for name, value in before.items()]
        file.write("{\n " + ",\n ".join([*values, f"{json.dumps(key)}: ["]))

    def add(self, item: object) -> None:
        self._file.write(self._separator + _dump(item))
        self._separator = ",\n"

    def finish(self) -> None:
        self._file.write(self._end)
