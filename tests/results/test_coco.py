"""COCO results and their index, by pycocotools and by hand."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from context_rcnn.results.coco import read_coco_results
from context_rcnn.results.options import Options
from context_rcnn.results.records import Detection, ImageResult
from context_rcnn.results.write import Outputs, coco_index_path, write_results


@pytest.fixture
def write(make_journal, tmp_path):
    def write_and_name(images, **options):
        path = tmp_path / "results.json"
        write_results(make_journal(images), Outputs(coco=path), Options(**options), progress=False)
        return path, coco_index_path(path)

    return write_and_name


def test_by_hand(write, small_run):
    results, index = (json.loads(path.read_text()) for path in write(small_run))
    assert [image["file_name"] for image in index["images"]] == [one.file for one in small_run]
    assert [image["id"] for image in index["images"]] == [1, 2, 3, 4]
    assert index["images"][0]["failure"] == "truncated: ends early"
    assert index["images"][1] == {
        "id": 2,
        "file_name": "loc_33/im-0001.jpg",
        "width": 2048,
        "height": 1494,
        "location": "loc_33",
        "datetime": "2013-10-04 13:31:53",
        "seq_id": "seq-a",
    }
    assert index["categories"][0] == {"id": 1, "name": "bobcat"}
    # .2925 * 2048, .2724 * 1494, and the far edges .4009 * 2048, .3936 * 1494 less these.
    box = [599.04, 406.97, 222.0, 181.07]
    assert results[0] == {"image_id": 2, "category_id": 1, "bbox": box, "score": 0.926}
    assert results[1] == {
        "image_id": 4,
        "category_id": 3,
        "bbox": [320.0, 120.0, 320.0, 360.0],
        "score": 0.75,
    }


def test_pycocotools_loads_them_and_finds_perfect_detections_perfect(write, small_run, capsys):
    results_path, index_path = write(small_run)
    index = json.loads(index_path.read_text())
    index["annotations"] = [
        {**result, "id": i, "area": result["bbox"][2] * result["bbox"][3], "iscrowd": 0}
        for i, result in enumerate(json.loads(results_path.read_text()), 1)
    ]
    index_path.write_text(json.dumps(index))
    truth = COCO(str(index_path))
    found = truth.loadRes(str(results_path))
    assert len(found.getAnnIds()) == 4
    assert sorted(found.getImgIds()) == [1, 2, 3, 4]
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)
    capsys.readouterr()


def test_suspects_are_left_out_and_their_image_stays(write):
    box = (0.1, 0.1, 0.5, 0.5)
    detections = (Detection(box, 1, -0.9), Detection(box, 2, 0.3))
    image = ImageResult("a.jpg", width=10, height=10, detections=detections)
    results, index = (json.loads(path.read_text()) for path in write([image]))
    assert [result["category_id"] for result in results] == [2]
    assert len(index["images"]) == 1


def test_tiny_boxes_keep_an_area_inside_of_the_image(write):
    corners = [(0.0, 0.0, 1e-7, 1e-7), (1 - 1e-7, 1 - 1e-7, 1.0, 1.0), (0.5, 0.5, 0.50001, 0.50001)]
    detections = tuple(Detection(box, 1, 0.5) for box in corners)
    image = ImageResult("a.jpg", width=640, height=480, detections=detections)
    results = json.loads(write([image])[0].read_text())
    boxes = np.array([result["bbox"] for result in results])
    assert (boxes[:, 2:] >= 0.01 - 1e-9).all()
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= [640 + 1e-9, 480 + 1e-9]).all()


def test_what_is_written_is_read_again(write, small_run, header):
    label_map, images = read_coco_results(*write(small_run))
    assert label_map == header.label_map
    for found, image in zip(images, small_run, strict=True):
        for name in ("file", "seconds", "width", "height", "burst", "failure", "failure_text"):
            assert getattr(found, name) == getattr(image, name), name
        expected = sorted(image.detections, key=lambda detection: -detection.score)
        for mine, theirs in zip(found.detections, expected, strict=True):
            assert (mine.class_id, mine.score) == (theirs.class_id, theirs.score)
            assert mine.box == pytest.approx(theirs.box, abs=0.02 / 480)


def test_results_of_other_images_are_an_error(write, small_run):
    results, index = write(small_run)
    results.write_text(json.dumps([{"image_id": 99}]))
    with pytest.raises(ValueError, match="does not have.*99"):
        read_coco_results(results, index)
