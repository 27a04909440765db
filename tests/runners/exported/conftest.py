"""A tiny model that was exported, as the tests of `export` have it."""

from tests.export.conftest import export, frozen, loaded, make_run, run  # noqa: F401
