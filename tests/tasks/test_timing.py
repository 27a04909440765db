"""Functions that take turns, and what is told of their times."""

import pytest

from context_rcnn.tasks import timing


def test_functions_take_turns_and_the_middle_is_told(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def taking(name: str, *seconds: float):
        left = iter(seconds)

        def call() -> None:
            calls.append(name)
            clock[0] += next(left)

        return call

    functions = {"a": taking("a", 100, 1, 2, 3), "b": taking("b", 100, 5, 5, 5)}
    found = timing.medians(functions, rounds=3, warmup=1)
    assert calls == ["a", "b"] * 4
    assert found == {"a": (2, 1), "b": (5, 0)}


def test_one_round_tells_no_spread():
    with pytest.raises(ValueError, match="1 round tells no spread"):
        timing.medians({"a": lambda: None}, rounds=1)
