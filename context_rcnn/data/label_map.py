"""Object Detection API label maps (`.pbtxt`), without protocol buffers.

item {
  id: 1
  name: 'bobcat'
}
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

FILE_NAME = "label_map.pbtxt"

_TOKEN = re.compile(
    r"""\s+ | \#[^\n]*                                   # spaces, comments
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<word>[A-Za-z_]\w*)
      | (?P<number>-?\d+(?:\.\d*)?)
      | (?P<mark>[{}:,;<>\[\]])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def make_label_map(class_names: Iterable[str]) -> dict[str, int]:
    """Ids from 1 in the given order; 0 is the background."""
    return {name: i for i, name in enumerate(dict.fromkeys(class_names), start=1)}


def format_label_map(label_map: Mapping[str, int]) -> str:
    """Text of a label map, items in the order of their ids."""
    items = sorted(label_map.items(), key=lambda item: item[1])
    return "".join(f"item {{\n  id: {i}\n  name: '{_quote(name)}'\n}}\n" for name, i in items)


def read_label_map(path: str | Path) -> dict[str, int]:
    """Class ids by name.

    Raises:
        ValueError: With file and line, if the text is not a label map, an id is not a positive
            whole number, or an id or a name occurs twice.
    """
    text = Path(path).read_text(encoding="utf-8")
    try:
        return parse_label_map(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_label_map(text: str) -> dict[str, int]:
    """Class ids by name, from the text of a label map. See `read_label_map`."""
    tokens = list(_tokens(text))
    label_map: dict[str, int] = {}
    while tokens:
        line = tokens[0][2]
        _expect(tokens, "item")
        if tokens and tokens[0][1] == ":":
            tokens.pop(0)
        fields = _read_fields(tokens)
        name, number = fields.get("name"), fields.get("id")
        if not isinstance(name, str) or not name or not isinstance(number, int):
            raise ValueError(f"line {line}: an item needs a quoted name and a whole-number id")
        if number < 1:
            raise ValueError(f"line {line}: id {number} of {name!r}: ids start at 1")
        if name in label_map or number in label_map.values():
            raise ValueError(f"line {line}: name {name!r} or id {number} occurs twice")
        label_map[name] = number
    if not label_map:
        raise ValueError("no items: not a label map")
    return label_map


def _read_fields(tokens: list) -> dict:
    """Fields of one item; nested messages (keypoints) are passed over."""
    _expect(tokens, "{")
    fields = {}
    while tokens and tokens[0][1] != "}":
        kind, key, line = tokens.pop(0)
        if key in (",", ";"):
            continue
        if kind != "word":
            raise ValueError(f"line {line}: expected the name of a field, found {key!r}")
        if tokens and tokens[0][1] == ":":
            tokens.pop(0)
        if tokens and tokens[0][1] == "{":
            _read_fields(tokens)
            continue
        if not tokens or tokens[0][0] == "mark":
            raise ValueError(f"line {line}: {key} has no value")
        kind, value, _ = tokens.pop(0)
        if kind == "string":
            value = _unquote(value)
        elif kind == "number" and "." not in value:
            value = int(value)
        fields[key] = value
    _expect(tokens, "}")
    return fields


def _tokens(text: str) -> Iterable[tuple[str, str, int]]:
    """(kind, text, line) of every token."""
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        line = text.count("\n", 0, position) + 1
        if match is None:
            raise ValueError(f"line {line}: cannot read {text[position : position + 20]!r}")
        if match.lastgroup:
            yield match.lastgroup, match.group(), line
        position = match.end()


def _expect(tokens: list, wanted: str) -> None:
    if not tokens:
        raise ValueError(f"the text ends where {wanted!r} should be")
    _, found, line = tokens.pop(0)
    if found != wanted:
        raise ValueError(f"line {line}: expected {wanted!r}, found {found!r}")


def _quote(name: str) -> str:
    for plain, escaped in (("\\", r"\\"), ("'", r"\'"), ("\n", r"\n"), ("\r", r"\r")):
        name = name.replace(plain, escaped)
    return name


def _unquote(quoted: str) -> str:
    """Text of a quoted string; escapes are bytes of UTF-8, as in protocol buffer text."""

    def plain(match: re.Match) -> bytes:
        octal, hexadecimal, letter = match.groups()
        if octal:
            return bytes([int(octal, 8) & 0xFF])
        if hexadecimal:
            return bytes([int(hexadecimal, 16)])
        return _ESCAPED.get(letter, letter)

    return _ESCAPE.sub(plain, quoted[1:-1].encode("utf-8")).decode("utf-8", errors="replace")
