"""Journals survive crashes, refuse strangers, and name what they cannot use."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from context_rcnn.data.failures import Reason
from context_rcnn.data.paths import FileError
from context_rcnn.results.journal import Journal, JournalWriter
from context_rcnn.results.records import Detection, Header, ImageResult


def read(path):
    failures = []
    return list(Journal(path).results(failures.append)), failures


def line(**fields):
    image = {"file": "a.jpg", "width": 4, "height": 4, "detections": []}
    return json.dumps(image | fields)


@pytest.fixture
def read_lines(make_journal):
    """Reads lines that no writer of ours wrote."""

    def write_and_read(*lines):
        path = make_journal([])
        with path.open("ab") as file:
            for text in lines:
                file.write((text.encode() if isinstance(text, str) else text) + b"\n")
        return read(path)

    return write_and_read


def test_what_is_appended_is_read_again(make_journal, small_run, header):
    path = make_journal(small_run)
    images, failures = read(path)
    assert images == small_run
    assert failures == []
    assert Journal(path).header == header


def test_a_line_is_in_the_file_when_append_returns(tmp_path, header, small_run):
    journal = JournalWriter(tmp_path / "j.jsonl", header)
    journal.append(small_run[1])
    assert read(tmp_path / "j.jsonl")[0] == [small_run[1]]
    journal.close()


def test_a_journal_cut_anywhere_is_continued_without_a_trace(make_journal, small_run, header):
    whole = make_journal(small_run).read_bytes()
    ends = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    around_ends = {size for end in ends for size in (end, end + 1, end + 2)}
    for size in sorted({*range(0, len(whole), 29), *around_ends, len(whole)} - {len(whole) + 1}):
        path = make_journal([], "cut.jsonl")
        path.write_bytes(whole[:size])
        complete = whole[:size].count(b"\n") - 1  # without the header
        if complete >= 0:
            assert read(path)[0] == small_run[:complete], "a torn line was read"
        else:
            with pytest.raises(ValueError, match="no complete header"):
                Journal(path)
        with JournalWriter(path, header) as journal:
            for image in small_run[max(complete, 0) :]:
                journal.append(image)
        assert path.read_bytes() == whole


ENDLESS_RUN = """
import sys
from context_rcnn.results.journal import Journal, JournalWriter
from context_rcnn.results.records import Detection, Header, ImageResult
path, header = sys.argv[1], Header.from_json(sys.argv[2])
found = tuple(Detection((0.1, 0.2, 0.3, 0.4), 1, i / 100) for i in range(100))
with JournalWriter(path, header) as journal:
    done = sum(1 for _ in Journal(path).results())
    while True:
        journal.append(ImageResult(f"{done:06d}.jpg", width=1, height=1, detections=found))
        done += 1
"""


def test_a_run_that_is_killed_again_and_again_loses_nothing_it_wrote(tmp_path, header):
    path = tmp_path / "j.jsonl"
    sizes = []
    for _ in range(4):
        run = subprocess.Popen([sys.executable, "-c", ENDLESS_RUN, str(path), header.to_json()])
        begun = path.stat().st_size if path.exists() else 0
        deadline = time.monotonic() + 30
        while not path.exists() or path.stat().st_size < begun + 100_000:
            assert time.monotonic() < deadline and run.poll() is None
            time.sleep(0.001)
        run.kill()
        run.wait()
        images, failures = read(path)
        assert failures == []
        assert [image.file for image in images] == [f"{i:06d}.jpg" for i in range(len(images))]
        assert all(len(image.detections) == 100 for image in images)
        sizes.append(len(images))
    assert sizes == sorted(set(sizes))


def test_a_full_disk_leaves_no_torn_line_behind(tmp_path, header, small_run):
    path = tmp_path / "j.jsonl"
    with JournalWriter(path, header) as journal:
        journal.append(small_run[0])
        raw = journal._file

        class HalfFull:
            closed = False

            def write(self, data):
                return raw.write(data[: len(data) // 2])

            def __getattr__(self, name):
                return getattr(raw, name)

        journal._file = HalfFull()
        with pytest.raises(OSError, match="only part of a line"):
            journal.append(small_run[1])
        journal._file = raw
        journal.append(small_run[2])
    assert read(path) == ([small_run[0], small_run[2]], [])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "another"),
        ("model_version", "0.2"),
        ("extractor_hash", "ffff"),
        ("label_map", {1: "bobcat"}),
        ("settings", {"max_side": 512}),
    ],
)
def test_the_journal_of_another_model_is_refused_and_left_alone(
    make_journal, small_run, header, field, value
):
    path = make_journal(small_run)
    before = path.read_bytes()
    other = Header(**(vars(header) | {field: value}))
    with pytest.raises(ValueError, match=f"{path}.*{field} is "):
        JournalWriter(path, other)
    assert path.read_bytes() == before


def test_when_a_journal_was_begun_does_not_matter(make_journal, small_run, header):
    path = make_journal(small_run[:1])
    later = Header(**(vars(header) | {"created": "2027-01-01T00:00:00Z"}))
    with JournalWriter(path, later) as journal:
        journal.append(small_run[1])
    assert Journal(path).header == header
    assert read(path)[0] == small_run[:2]


@pytest.mark.parametrize("content", [b"my only thesis", b"\xff\xd8\xff\xe0", b"{}\n", b"a\nb\n"])
def test_another_file_is_never_overwritten(tmp_path, header, content):
    path = tmp_path / "thesis.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="thesis.txt.*not a journal"):
        JournalWriter(path, header)
    assert path.read_bytes() == content


def test_a_later_format_is_refused(make_journal):
    path = make_journal([])
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ValueError, match="format_version is 2"):
        Journal(path)


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({1: "deer", 2: "deer"}, "occurs twice"),
        ({1: " "}, "not an id and a name"),
        ({-1: "deer"}, "not an id and a name"),
        ({0: "empty", 1: "deer"}, "'empty' .0. is no class of objects"),
    ],
)
def test_label_maps_are_checked(label_map, message):
    with pytest.raises(ValueError, match=message):
        Header("m", "1", "", label_map, "2026-05-26T19:11:27Z")


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "C:\\a.jpg", "", "a\udcff.jpg", "a\0.jpg"])
def test_names_that_leave_the_folder_or_no_file_has_are_refused(make_journal, read_lines, name):
    with pytest.raises(FileError):
        make_journal([ImageResult(name)])
    images, failures = read_lines(line(file=name))
    assert images == []
    assert [(f.reason, f.lost) for f in failures] == [(Reason.OUTSIDE_ROOT, "image")]
    failures[0].to_json().encode()


@pytest.mark.parametrize("name", ["a\"b'.jpg", "a\nb.jpg", "=1+1.jpg", "größe/a;b,c.jpg", " a.jpg"])
def test_strange_names_are_kept(make_journal, name):
    images, failures = read(make_journal([ImageResult(name, name, width=1, height=1)]))
    assert [image.file for image in images] == [name]
    assert failures == []


def test_windows_paths_are_one_name_with_the_others(make_journal):
    images, _ = read(make_journal([ImageResult("cam\\100RECNX\\a.jpg", failure="truncated")]))
    assert images[0].file == "cam/100RECNX/a.jpg"


def test_numpy_values_are_written_and_broken_numbers_are_named(make_journal):
    boxes = np.array([[0.1, 0.2, 0.3, 0.4], [0, 0, np.nan, 1], [0, 0, 1, 1]], np.float32)
    scores = np.array([0.5, 0.5, np.inf], np.float32)
    detections = tuple(
        Detection(tuple(box), class_id, score)
        for box, class_id, score in zip(boxes, np.array([1, 1, 2]), scores, strict=True)
    )
    image = ImageResult(
        "a.jpg",
        seconds=np.int64(1380893513),
        width=np.int32(8),
        height=np.int64(8),
        detections=detections,
    )
    (found,), failures = read(make_journal([image]))
    assert found.seconds == 1380893513
    assert [(d.class_id, d.score) for d in found.detections] == [(1, 0.5)]
    np.testing.assert_allclose(found.detections[0].box, boxes[0])
    assert [(f.reason, f.lost) for f in failures] == [(Reason.NOT_FINITE, "annotation")] * 2


def test_bad_detections_are_named_one_by_one_and_the_others_stay(read_lines):
    box = [0.1, 0.1, 0.5, 0.5]
    good = {"box": box, "class": 1, "score": 0.5}
    bad = [
        ({"class": 9}, Reason.CLASS_NOT_IN_LABEL_MAP),
        ({"class": None}, Reason.CLASS_NOT_IN_LABEL_MAP),
        ({"score": 1.5}, Reason.BAD_DETECTION),
        ({"score": None}, Reason.NOT_FINITE),
        ({"box": [0.5, 0.1, 0.1, 0.5]}, Reason.BAD_BOX),
        ({"box": [0.5, 0.1, 0.5, 0.5]}, Reason.BAD_BOX),
        ({"box": [1.1, 1.1, 1.5, 1.5]}, Reason.BAD_BOX),
        ({"box": [0.1, 0.1, 0.5]}, Reason.NOT_FINITE),
    ]
    detections = [good | change for change, _ in bad] + [good]
    (image,), failures = read_lines(line(detections=detections))
    assert image.detections == (Detection(tuple(box), 1, 0.5),)
    assert [failure.reason for failure in failures] == [reason for _, reason in bad]
    assert {(failure.file, failure.lost) for failure in failures} == {("a.jpg", "annotation")}


def test_boxes_are_cut_to_the_image(read_lines):
    detection = {"box": [-0.25, 0.5, 0.5, 1.75], "class": 1, "score": 0.5}
    (image,), failures = read_lines(line(detections=[detection]))
    assert image.detections[0].box == (0.0, 0.5, 0.5, 1.0)
    assert failures == []


@pytest.mark.parametrize("seconds", [0, 3600, 946684800, -5, 10**15, "noon", 1.5])
def test_clocks_that_were_never_set_are_no_dates(read_lines, seconds):
    """1970, 2000-01-01, and what is no time at all."""
    (image,), failures = read_lines(line(seconds=seconds))
    assert image.seconds is None
    assert [(f.reason, f.lost) for f in failures] == [(Reason.JUNK_DATE, "date")]


def test_results_without_a_size_or_without_detections_are_failures(read_lines):
    images, failures = read_lines(line(width=None), '{"file": "b.jpg", "width": 1, "height": 1}')
    assert [image.failure for image in images] == ["bad_record"] * 2
    assert [failure.reason for failure in failures] == [Reason.BAD_RECORD] * 2


def test_damage_in_the_middle_costs_a_line_and_is_named(make_journal, small_run):
    path = make_journal(small_run)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * 40 + lines[2][40:]
    path.write_bytes(b"".join(lines))
    images, failures = read(path)
    assert images == [small_run[0], *small_run[2:]]
    assert [failure.reason for failure in failures] == [Reason.BAD_RECORD]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
)
KEYS = ("file", "image_id", "camera", "seconds", "width", "height", "burst", "failure")
DETECTIONS = st.lists(
    st.fixed_dictionaries({"box": VALUES, "class": VALUES, "score": VALUES}) | VALUES, max_size=3
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=VALUES
    | st.fixed_dictionaries({"detections": DETECTIONS}, optional=dict.fromkeys(KEYS, VALUES))
    | st.fixed_dictionaries({"file": st.just("a.jpg"), "detections": DETECTIONS})
)
def test_any_line_is_an_image_or_a_named_failure(tmp_path, header, values):
    path = tmp_path / "any.jsonl"
    path.write_text(f"{header.to_json()}\n{json.dumps(values)}\n")
    images, failures = read(path)
    assert images or failures
    for image in images:
        for name in (image.file, image.camera, image.burst, image.failure, image.failure_text):
            name.encode("utf-8")
        for found in image.detections:
            assert min(found.box) >= 0 and max(found.box) <= 1
            assert found.class_id in {1, 2, 3, 4} and abs(found.score) <= 1
