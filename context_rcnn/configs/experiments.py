"""Experiments: complete settings by name, to start from."""

import importlib
from collections.abc import Callable

from official.core import config_definitions, exp_factory

TASKS = ("detection", "reid", "flow")  # files here whose experiments belong to this package

_names: list[str] = []
Make = Callable[[], config_definitions.ExperimentConfig]


def register(name: str) -> Callable[[Make], Make]:
    """Decorates a function that returns an experiment."""

    def decorate(make: Make) -> Make:
        exp_factory.register_config_factory(name)(make)
        _names.append(name)
        return make

    return decorate


def names() -> tuple[str, ...]:
    """Names of all experiments of this package, and of those that others have registered."""
    for task in TASKS:
        importlib.import_module(f"context_rcnn.configs.{task}")
    return tuple(_names)


def get(name: str) -> config_definitions.ExperimentConfig:
    """A new copy of the settings of an experiment."""
    return exp_factory.get_exp_config(name)
