"""Object Detection API label maps (`.pbtxt`), without protocol buffers.

item {
  id: 1
  name: 'bobcat'
}
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from context_rcnn.configs import text_format

FILE_NAME = "label_map.pbtxt"


def make_label_map(class_names: Iterable[str]) -> dict[str, int]:
    """Ids from 1 in the given order; 0 is the background."""
    return {name: i for i, name in enumerate(dict.fromkeys(class_names), start=1)}


def format_label_map(label_map: Mapping[str, int]) -> str:
    """Text of a label map, items in the order of their ids."""
    items = sorted(label_map.items(), key=lambda item: item[1])
    return "".join(
        f"item {{\n  id: {i}\n  name: {text_format.quote(name)}\n}}\n" for name, i in items
    )


def read_label_map(path: str | Path) -> dict[str, int]:
    """Class ids by name.

    Raises:
        ValueError: With file and line, if there is no label map, an id is not a positive whole
            number, or an id or a name occurs twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such label map") from None
    try:
        return parse_label_map(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_label_map(text: str) -> dict[str, int]:
    """Class ids by name, from the text of a label map. See `read_label_map`."""
    message = text_format.parse(text)
    label_map: dict[str, int] = {}
    for field, items in message.fields.items():
        if field != "item":
            raise ValueError(f"line {items[0].line}: expected 'item', found {field!r}")
        for item in items:
            name, number = (_last(item.value, key) for key in ("name", "id"))
            if not isinstance(name, str) or not name or type(number) is not int:
                raise ValueError(
                    f"line {item.line}: an item needs a quoted name and a whole-number id"
                )
            if number < 1:
                raise ValueError(f"line {item.line}: id {number} of {name!r}: ids start at 1")
            if name in label_map or number in label_map.values():
                raise ValueError(f"line {item.line}: name {name!r} or id {number} occurs twice")
            label_map[name] = number
    if not label_map:
        raise ValueError("no items: not a label map")
    return label_map


def _last(item: object, key: str) -> object:
    """A field of an item, which may be there more than once; None where it is missing."""
    fields = item.fields if isinstance(item, text_format.Message) else {}
    return fields[key][-1].value if key in fields else None
