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
        self._end = "\n" if before is None else "\n}\n"
        if before is None:
            file.write("[")
            return
        values = [f"{json.dumps(name)}: {_dump(value)}" for name, value in before.items()]
        file.write("{\n " + ",\n ".join([*values, f"{json.dumps(key)}: ["]))

    def add(self, item: object) -> None:
        self._next(_dump(item))

    def nest(self, before: dict[str, Any], key: str) -> "JsonList":
        """An item that has a long list itself; to be finished before the next item."""
        self._next("")
        return JsonList(self._file, before, key)

    def finish(self, after: dict[str, Any] | None = None) -> None:
        """Ends the list, and what is around it with the values of `after`."""
        values = [
            f",\n {json.dumps(name)}: {_dump(value)}" for name, value in (after or {}).items()
        ]
        self._file.write("\n]" + "".join(values) + self._end)

    def _next(self, text: str) -> None:
        self._file.write(self._separator + text)
        self._separator = ",\n"
