"""Exports of annotation tools up to an archive: dates of the photographs, empties, and COCO."""

import json

import pytest

from context_rcnn.data.archive import ArchiveOptions, read_archive
from context_rcnn.data.failures import Reason
from context_rcnn.data.images import ImageOptions
from context_rcnn.data.prepare import prepare
from context_rcnn.data.records import LabelState

LOCAL = "/data/local-files/?d=photos/site_1"
LABEL_STUDIO_COCO = {
    "images": [
        {
            "width": 64,
            "height": 48,
            "id": 0,
            "file_name": f"{LOCAL}/a.jpg",
        },
        {
            "width": 64,
            "height": 48,
            "id": 1,
            "file_name": f"{LOCAL}/b.jpg",
        },
    ],
    "categories": [{"id": 0, "name": "badger"}, {"id": 1, "name": "fox"}],
    "annotations": [
        {
            "id": 0,
            "image_id": 0,
            "category_id": 1,
            "segmentation": [],
            "bbox": [6.4, 9.6, 19.2, 19.2],
            "ignore": 0,
            "iscrowd": 0,
            "area": 368.64,
        }
    ],
    "info": {"year": 2024, "version": "1.0", "description": "", "contributor": "Label Studio"},
}
CVAT_COCO = {
    "licenses": [{"name": "", "id": 0, "url": ""}],
    "info": {"contributor": "", "date_created": "", "description": "", "url": "", "year": ""},
    "categories": [
        {"id": 1, "name": "badger", "supercategory": ""},
        {"id": 2, "name": "fox", "supercategory": ""},
    ],
    "images": [
        {
            "id": i + 1,
            "width": 64,
            "height": 48,
            "file_name": f"photos/site_1/{name}.jpg",
            "license": 0,
            "flickr_url": "",
            "coco_url": "",
            "date_captured": 0,
        }
        for i, name in enumerate("ab")
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 2,
            "segmentation": [],
            "area": 368.64,
            "bbox": [6.4, 9.6, 19.2, 19.2],
            "iscrowd": 0,
            "attributes": {"occluded": False, "rotation": 0.0},
        }
    ],
}
LABEL_STUDIO = [
    {
        "id": 1,
        "data": {"image": f"{LOCAL}/a.jpg"},
        "annotations": [
            {
                "result": [
                    {
                        "type": "rectanglelabels",
                        "original_width": 64,
                        "original_height": 48,
                        "value": {
                            "x": 10,
                            "y": 20,
                            "width": 30,
                            "height": 40,
                            "rotation": 0,
                            "rectanglelabels": ["fox"],
                        },
                    }
                ]
            }
        ],
    },
    {"id": 2, "data": {"image": f"{LOCAL}/b.jpg"}, "annotations": []},
]
CVAT_XML = """<annotations><version>1.1</version>
<image id="0" name="photos/site_1/a.jpg" width="64" height="48">
<box label="fox" source="manual" occluded="0"
xtl="6.4" ytl="9.6" xbr="25.6" ybr="28.8" z_order="0"/>
</image><image id="1" name="photos/site_1/b.jpg" width="64" height="48"></image></annotations>"""
EXPORTS = {
    "input_json": json.dumps(LABEL_STUDIO_COCO),
    "input_json ": json.dumps(CVAT_COCO),
    "label_studio_json": json.dumps(LABEL_STUDIO),
    "cvat_xml": CVAT_XML,
}


@pytest.fixture
def options(tmp_path, jpeg):
    def make(flag, text, **changes):
        folder = tmp_path / "photos/site_1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "a.jpg").write_bytes(jpeg(date="2024:05:01 06:00:00"))
        (folder / "b.jpg").write_bytes(jpeg(date="2024:05:01 06:00:09"))
        (tmp_path / "export").write_text(text)
        given = {flag.strip(): str(tmp_path / "export"), "image_root": str(tmp_path)}
        return ArchiveOptions(**given, val_fraction=0.0, **changes)

    return make


def records(archive):
    return {r.file_name[-5]: r for members in archive.records.values() for r in members}


@pytest.mark.parametrize("flag", EXPORTS)
def test_the_same_drawing_is_the_same_archive_from_every_export(flag, options, tmp_path):
    archive = read_archive(options(flag, EXPORTS[flag]))
    found = records(archive)
    a, b = found["a"], found["b"]
    assert not archive.failures
    assert (a.camera, a.seconds, b.seconds - a.seconds) == ("photos/site_1", 1714543200, 9)
    assert a.seq_id == b.seq_id != "", "EXIF dates make bursts"
    assert (a.label_state, b.label_state) == (LabelState.BOXES, LabelState.UNLABELLED)
    assert a.class_names == ("fox",) and "fox" in archive.label_map
    prepared, _ = prepare(a, tmp_path, ImageOptions())
    assert prepared.boxes.tolist() == [pytest.approx([0.2, 0.1, 0.6, 0.4])]


def test_images_without_labels_are_empty_if_somebody_looked_at_all(options):
    archive = read_archive(options("cvat_xml", CVAT_XML, unlabelled_are_empty=True))
    found = records(archive)
    assert found["b"].label_state is LabelState.EMPTY
    assert found["a"].label_state is LabelState.BOXES


def test_an_archive_with_dates_of_its_own_keeps_them(options):
    document = json.loads(json.dumps(CVAT_COCO))
    document["images"][1]["date_captured"] = "2019-01-02 03:04:05"
    found = records(read_archive(options("input_json", json.dumps(document))))
    assert found["a"].seconds is None and found["b"].seconds == 1546398245


def test_a_photograph_with_a_junk_date_is_named(options, tmp_path, jpeg):
    given = options("cvat_xml", CVAT_XML)
    (tmp_path / "photos/site_1/b.jpg").write_bytes(jpeg(date="1970:01:01 00:00:00"))
    archive = read_archive(given)
    (failure,) = archive.failures
    assert (failure.reason, failure.lost, failure.stage) == (Reason.JUNK_DATE, "date", "exif")
    assert records(archive)["b"].seconds is None


@pytest.mark.parametrize("flag", EXPORTS)
def test_the_commands_of_the_page_check_each_export(flag, options, tmp_path, capsys):
    from context_rcnn import cli

    options(flag, EXPORTS[flag])
    argv = [f"--{flag.strip()}={tmp_path / 'export'}", f"--image_root={tmp_path}"]
    assert cli.main(["validate", *argv, "--val_fraction=0", "--unlabelled_are_empty"]) == 0
    out = capsys.readouterr().out
    assert "photos/site_1" in out and "dated by exif" in out
    assert "2024-05-01 06:00:09" in out, "the last date of the camera"
