"""What a detector remembers: one file of settings per memory, found by its name.

`NAME.py` holds the class `SETTINGS`, and `models/NAME` the model built from them. A memory of
another package calls `models.temporal.register`. Installed packages announce their module as an
entry point of the group `PLUGINS`; it is imported when the names of memories are first needed.
"""

import dataclasses
import functools
import importlib
import importlib.metadata
import pkgutil

from official.modeling import hyperparams

NONE = "none"
PLUGINS = "context_rcnn.memories"
_elsewhere: dict[str, type[hyperparams.Config]] = {}


def register(name: str, settings: type[hyperparams.Config]) -> None:
    """Makes `task.temporal.type: NAME` known, with these settings."""
    if name in _own() | _elsewhere:
        raise ValueError(f"there is a memory {name!r} already")
    _elsewhere[name] = settings


def registered() -> dict[str, type[hyperparams.Config]]:
    """Classes of settings, by the name of their memory."""
    _load_plugins()
    return _own() | _elsewhere


@functools.cache
def _load_plugins() -> None:
    """Imports the memories that installed packages announce."""
    for plugin in importlib.metadata.entry_points(group=PLUGINS):
        plugin.load()


@functools.cache
def _own() -> dict[str, type[hyperparams.Config]]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = {name: importlib.import_module(f"{__name__}.{name}").SETTINGS for name in names}
    return {NONE: hyperparams.Config} | found


@dataclasses.dataclass
class Temporal(hyperparams.OneOfConfig):
    """What the detector remembers, and how: one group of settings for each memory.

    Attributes:
        type: `none` (the still-image detector), or the name of a memory: `context_rcnn`, a baseline
            of its paper (`st_spatial` or `s3d`), `mega`, `stmn`, `memory_warps`, or `fgfa` and
            `two_speed`, which belong to its paper.
    """

    type: str = NONE

    def __post_init__(self, default_params, restrictions):
        for name, settings in registered().items():
            setattr(self, name, settings())
        super().__post_init__(default_params, restrictions)

    @classmethod
    def with_settings(cls, name: str, settings: hyperparams.Config) -> "Temporal":
        """A memory with these settings."""
        temporal = cls(type=name)
        setattr(temporal, name, settings)
        return temporal
