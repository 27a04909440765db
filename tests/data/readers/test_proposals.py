"""Proposals of another detector, read entry by entry from long lists."""

import json
from collections import Counter

import numpy as np
import pytest

from context_rcnn.data.archive import ArchiveOptions, read_archive
from context_rcnn.data.failures import Reason
from context_rcnn.data.readers import proposals as reader
from context_rcnn.data.records import ImageRecord


def entry(image_id="a", bbox=(1, 2, 10, 20), score=0.5, **more):
    return {"image_id": image_id, "bbox": list(bbox), "score": score, "category_id": 1, **more}


def write(path, entries):
    path.write_text(json.dumps(entries))
    return path


def rows(read, image_id):
    return np.array(read.boxes[image_id]).reshape(-1, 5).tolist()


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
def test_entries_are_grouped_by_image_whatever_the_pieces(tmp_path, monkeypatch, piece, indent):
    monkeypatch.setattr(reader, "_PIECE", piece)
    entries = [entry(7, score=0.25), entry("b"), entry(7, bbox=(0, 0, 1.5, 2), score=-3)]
    path = tmp_path / "p.json"
    path.write_text("\ufeff " + json.dumps(entries, indent=indent) + "\n", encoding="utf-8")
    read = reader.read_proposals([path])
    assert rows(read, "7") == [[1, 2, 11, 22, 0.25], [0, 0, 1.5, 2, -3]]
    assert rows(read, "b") == [[1, 2, 11, 22, 0.5]]
    assert not read.bad and not read.failures


def test_several_files_add_up(tmp_path):
    paths = [write(tmp_path / f"{i}.json", [entry(score=i)]) for i in range(3)]
    paths.append(write(tmp_path / "none.json", []))
    read = reader.read_proposals(paths)
    assert [row[4] for row in rows(read, "a")] == [0, 1, 2]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "p.json: not a JSON file: it ends early"),
        ('{"a": 1}', "p.json: the top level must be a list"),
        ("[", "it ends early"),
        ('[{"image_id": 1}', "it ends early"),
        ('[{"image_id": 1} {"image_id": 2}]', "expected ',' or ']', found '{'"),
        ('[{"image_id": 1},]', "not a JSON file: Expecting value"),
        ('[{"image_id": }]', "not a JSON file: Expecting value"),
    ],
)
def test_files_that_are_no_list_are_named(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(reader, "_PIECE", 5)
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        reader.read_proposals([path])
    assert message in str(error.value)


BAD = [
    entry(bbox=(1, 2, 0, 5)),
    entry(bbox=(1, 2, 3)),
    entry(bbox=(1, 2, 3, float("nan"))),
    entry(score=None),
    {"image_id": "a"},
]


def records(*ids):
    return {"train": [ImageRecord(i, f"{i}.jpg", "cam") for i in ids]}


def test_entries_that_are_no_boxes_are_counted_and_listed_by_image(tmp_path):
    nameless = [entry(None), entry(True), 5]
    path = write(tmp_path / "p.json", [entry(), *BAD, *nameless])
    failures, notes = [], Counter()
    given = reader.add_proposals(records("a", "b"), reader.read_proposals([path]), failures, notes)
    assert [len(record.proposals) for record in given["train"]] == [20, 0]
    of_image, *of_file = failures
    assert (of_image.image_id, of_image.reason) == ("a", Reason.BAD_DETECTION)
    assert of_image.detail == "5 proposals are no boxes, such as bbox [1, 2, 0, 5], score 0.5"
    assert [f.detail[-40:] for f in of_file] == [
        "[6]: field 'image_id' must be an id, is 'None'"[-40:],
        "[7]: field 'image_id' must be an id, is 'True'"[-40:],
        "[8]: field 'image_id' must be an id, is 'None'"[-40:],
    ]
    assert {f.lost for f in failures} == {"annotation"}
    assert notes == {
        "proposals": 1,
        "images_without_proposals": 1,
        "proposals_that_are_no_boxes": 5,
        "proposals_of_unknown_images": 0,
    }


def test_proposals_of_other_images_are_counted_and_of_other_images_alone_refused(tmp_path):
    read = reader.read_proposals([write(tmp_path / "p.json", [entry("a"), entry("z")])])
    notes = Counter()
    reader.add_proposals(records("a"), read, [], notes)
    assert notes["proposals_of_unknown_images"] == 1
    with pytest.raises(ValueError, match="name none of the images: they have 'a', the archive has"):
        reader.add_proposals(records("c"), read, [], Counter())


def test_a_record_keeps_them_through_json():
    with_some = ImageRecord("a", "a.jpg", "cam", proposals=np.float32([1, 2, 3, 4, 0.1]).tobytes())
    for record in (with_some, ImageRecord("a", "a.jpg", "cam", proposals=b"")):
        assert ImageRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    # Plans of archives without proposals are as they were.
    plain = ImageRecord("a", "a.jpg", "cam")
    assert "proposals" not in plain.to_dict() and ImageRecord.from_dict(plain.to_dict()) == plain


def test_an_archive_takes_files_of_them(tmp_path, write_cct):
    images = [{"id": "im-1", "file_name": "a.jpg", "location": "A"}]
    json_file = write_cct(images)
    path = write(tmp_path / "p.json", [entry("im-1")])
    options = ArchiveOptions(
        input_json=str(json_file), image_root=str(tmp_path), proposals_json=(str(path),)
    )
    archive = read_archive(options)
    (record,) = [r for split in archive.records.values() for r in split]
    assert np.frombuffer(record.proposals, np.float32).tolist() == [1, 2, 11, 22, 0.5]
    assert archive.notes["proposals"] == 1
