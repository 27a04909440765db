"""Journals in any order come out by file name, the last line of each."""

import random
import tracemalloc

import pytest

from context_rcnn.results.journal import Journal
from context_rcnn.results.order import in_order
from context_rcnn.results.records import ImageResult, read_line


def image(number, **fields):
    return ImageResult(
        f"cam_{number % 3}/{number:04d}.jpg",
        camera=f"cam_{number % 3}",
        width=8,
        height=8,
        **fields,
    )


def ordered(path, piece_bytes=1 << 20):
    failures = []
    with in_order(Journal(path), failures.append, piece_bytes=piece_bytes) as (lines, index):
        images = [read_line(line, failures.append) for line in lines]
    return images, index, failures


@pytest.mark.parametrize("piece_bytes", [1, 1000, 1 << 20])
def test_any_order_comes_out_by_name_with_the_last_line_of_each(make_journal, piece_bytes):
    rng = random.Random(3)
    written = [image(rng.randrange(120), seconds=1380893513 + i) for i in range(400)]
    path = make_journal(written)
    found, index, failures = ordered(path, piece_bytes)
    last = {one.file: one.seconds for one in written}
    assert [(one["file"], one["seconds"]) for one in found] == sorted(last.items())
    assert index.images == len(last)
    assert index.superseded == 400 - len(last)
    assert failures == []
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "pieces were left"


def test_a_journal_in_order_is_read_as_it_is(make_journal, monkeypatch):
    path = make_journal([image(i) for i in (0, 3, 6, 1, 4, 2)])
    monkeypatch.setattr("context_rcnn.results.order._sort", None)
    found, index, _ = ordered(path)
    assert len(found) == index.images == 6
    assert index.superseded == 0


def test_cameras_and_bursts_have_their_first_and_last_date(make_journal):
    times = {0: 50, 3: 20, 6: None, 1: 70, 9: 90}
    images = [
        image(i, seconds=None if t is None else 1380893500 + t, burst="a" if i < 9 else "b")
        for i, t in times.items()
    ]
    _, index, _ = ordered(make_journal(images))
    spans = {name: (s.images, s.first, s.last) for name, s in index.cameras.items()}
    assert spans == {
        "cam_0": (4, 1380893520, 1380893590),
        "cam_1": (1, 1380893570, 1380893570),
    }
    assert index.bursts.span("cam_0", "a") == (1380893520, 1380893550)
    assert index.bursts.span("cam_1", "a") == (1380893570, 1380893570)
    assert index.bursts.span("cam_0", "b") == (1380893590, 1380893590)


@pytest.mark.parametrize("order", [(0, 3, 6), (6, 3, 0)])
def test_lines_without_a_name_are_named_once(make_journal, order):
    path = make_journal([image(i) for i in order])
    with path.open("ab") as file:
        file.write(b'not JSON\n{"file": "../x.jpg"}\n')
    _, index, failures = ordered(path)
    assert index.images == 3
    assert sorted(failure.reason for failure in failures) == ["bad_record", "outside_root"]


def test_sorting_takes_the_memory_of_a_piece(make_journal):
    """5,000 images, .9 MB, in pieces of 25 kB."""
    numbers = random.Random(0).sample(range(5_000), 5_000)
    path = make_journal([image(i) for i in numbers])
    tracemalloc.start()
    with in_order(Journal(path), print, piece_bytes=25_000) as (lines, index):
        last = ""
        for line in lines:
            name = read_line(line, print)["file"]
            assert name > last
            last = name
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert index.images == 5_000
    assert highest < 450_000
