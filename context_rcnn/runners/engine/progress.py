"""How far a stage is: a bar on a terminal, a line now and then in a log."""

import sys
from typing import Protocol

from tqdm import tqdm

_BAR_SECONDS, _LINE_SECONDS = 0.1, 30.0  # between two changes


class Bar(Protocol):
    """What a stage tells how far it is."""

    def update(self, number: int) -> object:
        """So many images or frames more."""


def on_terminal() -> bool:
    """Whether somebody sees a bar move."""
    return sys.stderr.isatty()


def bar(stage: str, total: int | None = None, unit: str = " images") -> tqdm:
    """A bar with the name of the stage.

    Args:
        stage: name of the stage.
        total: number of things to do, None if unknown.
        unit: name of the things that are counted.
    """
    every = _BAR_SECONDS if on_terminal() else _LINE_SECONDS
    return tqdm(desc=stage, total=total, unit=unit, mininterval=every, maxinterval=every)
