"""Names and tables on terminals of any width and encoding."""

import io
import sys

import pytest

from context_rcnn.data import console


class Terminal(io.TextIOWrapper):
    def __init__(self, encoding, is_terminal):
        super().__init__(io.BytesIO(), encoding=encoding)
        self._is_terminal = is_terminal

    def isatty(self):
        return self._is_terminal


@pytest.fixture
def terminal(monkeypatch):
    def use(columns=80, encoding="utf-8", is_terminal=True):
        monkeypatch.setattr(sys, "stdout", Terminal(encoding, is_terminal))
        monkeypatch.setenv("COLUMNS", str(columns))

    return use


def test_names_are_shown_as_they_are_and_controls_as_escapes(terminal):
    terminal()
    assert console.shown("süd 🦊/山") == "süd 🦊/山"
    assert console.shown("a\nb\x1b[31m") == r"a\nb\x1b[31m"
    assert console.shown("caf\udce9") == r"caf\udce9"
    terminal(encoding="cp1252")
    assert console.shown("süd 🦊") == r"süd \U0001f98a"


ROWS = [("camera", "images", "first"), ("süd", "12", "2013-10-04"), ("n" * 200 + "end", "3", "-")]


def test_a_table_fits_the_terminal(terminal):
    terminal(columns=60)
    lines = console.table(ROWS).splitlines()
    assert all(len(line) <= 60 for line in lines)
    assert lines[1].split() == ["süd", "12", "2013-10-04"]
    assert lines[2].startswith("nnnn") and "…" in lines[2] and "end " in lines[2]
    ends = [line.index(text) + len(text) for line, (_, text, _) in zip(lines, ROWS, strict=True)]
    assert len(set(ends)) == 1, "numbers stand below each other"


def test_in_a_file_names_stay_whole_and_do_not_widen_other_rows(terminal):
    terminal(columns=60, is_terminal=False)
    lines = console.table(ROWS).splitlines()
    assert ROWS[2][0] in lines[2] and len(lines[1]) <= 60


def test_wide_characters_take_two_columns(terminal):
    terminal()
    wide, narrow = console.table([("山田", "1"), ("abcd", "1")]).splitlines()
    assert wide == "山田  1" and narrow == "abcd  1"
    assert console.shortened("山田山田山田", 7) == "山…山田"
