"""Imports point downwards, as the table in docs/architecture.md says: it is read from there."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("context_rcnn", "beam_pipelines", "benchmarks", "tpu")


def read_floors() -> dict[str, int]:
    """The floor of each room, 0 at the top."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    (table,) = re.findall(r"```floors\n(.*?)```", page, re.DOTALL)
    return {
        room.strip(): floor
        for floor, line in enumerate(table.strip().splitlines())
        for room in line.split("·")
    }


FLOORS = read_floors()


def room_of(module: str) -> str:
    """`context_rcnn.data.input` is in `data`, `beam_pipelines.detect` in `beam_pipelines`."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "context_rcnn" else package


def imports_of(path: pathlib.Path) -> set[str]:
    """Modules of ours that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module in PACKAGES:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] in PACKAGES}


def wrong_imports(module: str, imported: set[str]) -> list[str]:
    """What a module may not import: rooms above it, or beside it."""
    here = room_of(module)
    return sorted(
        name
        for name in imported
        if room_of(name)  # the package itself, for its version
        and room_of(name) != here
        and FLOORS.get(room_of(name), -1) <= FLOORS[here]
    )


FILES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_what_is_below_it(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if not room_of(module):  # the package itself
        assert not imports_of(path)
        return
    assert room_of(module) in FLOORS, f"{module} is in no room of docs/architecture.md"
    assert not wrong_imports(module, imports_of(path))


def test_an_import_that_points_up_or_aside_is_found():
    assert wrong_imports("context_rcnn.layers.relation", {"context_rcnn.models.mega"})
    assert wrong_imports("context_rcnn.report.page", {"context_rcnn.runners.watch"})
    assert not wrong_imports("context_rcnn.models.mega.model", {"context_rcnn.layers.relation"})


def test_every_room_of_the_table_exists():
    rooms = {room_of(".".join(p.relative_to(ROOT).with_suffix("").parts)) for p in FILES}
    assert set(FLOORS) == rooms - {"__init__"}
