"""Protocol buffers written as text, read without their definitions.

item {
  id: 1
  name: 'bobcat'   # a comment
}
"""

import collections
import dataclasses
import re
from collections.abc import Collection, Iterator
from typing import Any

_TOKEN = re.compile(
    r"""\s+ | \#[^\n]*                                   # spaces, comments
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?[fF]?)(?![\w.]))
      | (?P<word>-?[A-Za-z_]\w*)
      | (?P<mark>[{}:,;<>\[\]./])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_CLOSING = {"{": "}", "<": ">"}
_WORDS: dict[str, bool | float] = {"true": True, "false": False}
_WORDS |= {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}
_MAX_DEPTH = 100


@dataclasses.dataclass(frozen=True)
class Field:
    """A value and the line it stands on.

    Attributes:
        value: Text, a number, True or False, the name of an enumeration's value as text, or a
            message.
        line: Of the text, from 1.
    """

    value: "str | bool | int | float | Message"
    line: int


@dataclasses.dataclass(frozen=True)
class Message:
    """Fields by name, each with all its values in their order."""

    fields: dict[str, list[Field]] = dataclasses.field(default_factory=dict)


class Group:
    """A message whose fields are read by name, and which remembers the fields that were read.

    Attributes:
        notes: what there is to say about its fields, shared with the messages in it.
    """

    def __init__(self, message: Message, notes: list[str], path: str = ""):
        """
        Args:
            message: what is asked for.
            notes: where notes go.
            path: its full name.
        """
        self._message, self._path, self.notes = message, path, notes
        self._read: set[str] = set()
        self._groups: list[Group] = []

    def __contains__(self, name: str) -> bool:
        return name in self._message.fields

    def name(self, field: str) -> str:
        """Full name of a field."""
        return f"{self._path}.{field}" if self._path else field

    def many(self, name: str, kind: type = float) -> list:
        """All values of a field; a ValueError where one is of another kind."""
        self._read.add(name)
        return [self._checked(name, field, kind) for field in self._message.fields.get(name, [])]

    def one(self, name: str, default: Any) -> Any:
        """The value of a field; like protocol buffers, the last one."""
        return (self.many(name, type(default)) or [default])[-1]

    def groups(self, name: str) -> "list[Group]":
        """All messages of a field."""
        messages = self.many(name, Message)
        found = [Group(message, self.notes, self.name(name)) for message in messages]
        self._groups += found
        return found

    def group(self, name: str) -> "Group":
        """The message of a field; an empty one where it is missing."""
        return (self.groups(name) or [Group(Message(), self.notes, self.name(name))])[-1]

    def only(self, name: str, default: Any, wanted: Any, why: str) -> None:
        """Notes a field that asks for something else than what is done here."""
        found = self.one(name, default)
        if found != wanted:
            self.notes.append(f"{self.name(name)} {found}: {why}")

    def unread(self, immaterial: Collection[str]) -> list[tuple[str, Field]]:
        """Full names of what nobody asked for, but for some names; of a message its own name."""
        fields = self._message.fields
        found = [
            (self.name(name), fields[name][0])
            for name in fields
            if name not in self._read and name not in immaterial
        ]
        return found + [entry for group in self._groups for entry in group.unread(immaterial)]

    def _checked(self, name: str, field: Field, kind: type) -> Any:
        value = field.value
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            wanted = "a message" if kind is Message else kind.__name__
            got = "a message" if isinstance(value, Message) else repr(value)
            raise ValueError(f"line {field.line}: {self.name(name)} must be {wanted}, got {got}")
        return value


def parse(text: str) -> Message:
    """Reads a message.

    Raises:
        ValueError: With the line, if the text is not protocol buffer text.
    """
    tokens = collections.deque(_tokens(text))
    message = _read_fields(tokens, "", 0)
    if tokens:
        raise ValueError(f"line {tokens[0][2]}: expected the name of a field")
    return message


def quote(text: str) -> str:
    """Text as a quoted string."""
    for plain, escaped in (("\\", r"\\"), ("'", r"\'"), ("\n", r"\n"), ("\r", r"\r")):
        text = text.replace(plain, escaped)
    return f"'{text}'"


def _read_fields(tokens: collections.deque, closing: str, depth: int) -> Message:
    """Fields up to the closing mark, or to the end of the text where it is empty."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"messages within messages, more than {_MAX_DEPTH} deep")
    message = Message()
    while tokens and tokens[0][1] != closing:
        if tokens[0][1] in (",", ";"):
            tokens.popleft()
            continue
        line = tokens[0][2]
        values = message.fields.setdefault(_read_name(tokens), [])
        values += [Field(value, line) for value in _read_values(tokens, line, depth)]
    if closing:
        _expect(tokens, closing)
    return message


def _read_name(tokens: collections.deque) -> str:
    kind, name, line = tokens.popleft()
    if name == "[":  # the full name of an extension
        while tokens and tokens[0][1] != "]":
            name += tokens.popleft()[1]
        _expect(tokens, "]")
        return name + "]"
    if kind != "word":
        raise ValueError(f"line {line}: expected the name of a field, found {name!r}")
    return name


def _read_values(tokens: collections.deque, line: int, depth: int) -> list:
    """What stands behind the name of a field: one value, or a list in brackets."""
    colon = bool(tokens) and tokens[0][1] == ":"
    if colon:
        tokens.popleft()
    if colon and tokens and tokens[0][1] == "[":
        tokens.popleft()
        values = []
        while tokens and tokens[0][1] != "]":
            if tokens[0][1] == ",":
                tokens.popleft()
            else:
                values.append(_read_value(tokens, line, depth))
        _expect(tokens, "]")
        return values
    if not colon and not (tokens and tokens[0][1] in _CLOSING):
        _expect(tokens, ":", "{")
    return [_read_value(tokens, line, depth)]


def _read_value(tokens: collections.deque, line: int, depth: int):
    if not tokens or tokens[0][0] == "mark" and tokens[0][1] not in _CLOSING:
        raise ValueError(f"line {line}: a field has no value")
    kind, text, _ = tokens.popleft()
    if kind == "mark":
        return _read_fields(tokens, _CLOSING[text], depth + 1)
    if kind == "string":
        pieces = [_unquote(text)]
        while tokens and tokens[0][0] == "string":  # strings side by side are one
            pieces.append(_unquote(tokens.popleft()[1]))
        return "".join(pieces)
    if kind == "number":
        return _number(text)
    return _WORDS.get(text, text)


def _number(text: str) -> int | float:
    if text.lower().lstrip("+-").startswith("0x"):
        return int(text, 16)
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    return float(text.rstrip("fF"))


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """(kind, text, line) of every token."""
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"line {line}: cannot read {text[position : position + 20]!r}")
        if match.lastgroup:
            yield match.lastgroup, match.group(), line
        line += match.group().count("\n")
        position = match.end()


def _expect(tokens: collections.deque, *wanted: str) -> None:
    words = " or ".join(map(repr, wanted))
    if not tokens:
        raise ValueError(f"the text ends where {words} should be")
    _, found, line = tokens.popleft()
    if found not in wanted:
        raise ValueError(f"line {line}: expected {words}, found {found!r}")


def _unquote(quoted: str) -> str:
    """Text of a quoted string; escapes are bytes of UTF-8."""

    def plain(match: re.Match) -> bytes:
        octal, hexadecimal, letter = match.groups()
        if octal:
            return bytes([int(octal, 8) & 0xFF])
        if hexadecimal:
            return bytes([int(hexadecimal, 16)])
        return _ESCAPED.get(letter, letter)

    return _ESCAPE.sub(plain, quoted[1:-1].encode("utf-8")).decode("utf-8", errors="replace")
