"""MegaDetector's batch output: against the format's checks, its example, and by hand."""

import copy
import json

import pytest

from context_rcnn.data.readers.megadetector import read_megadetector
from context_rcnn.results.megadetector import read_megadetector_results
from context_rcnn.results.options import Options
from context_rcnn.results.records import Detection, ImageResult
from context_rcnn.results.write import Outputs, write_results


@pytest.fixture
def write(make_journal, tmp_path, check_megadetector):
    def write_and_load(images, **options):
        path = tmp_path / "md.json"
        outputs = Outputs(megadetector=path)
        write_results(make_journal(images), outputs, Options(**options), progress=False)
        document = json.loads(path.read_text())
        assert check_megadetector(document) is None
        return document

    return write_and_load


def one(score=0.5, class_id=1, box=(0.1, 0.2, 0.3, 0.4), **fields):
    found = (Detection(box, class_id, score),)
    return ImageResult("a.jpg", width=100, height=100, detections=found, **fields)


def test_the_public_example_comes_out(write, small_run):
    document = write(small_run[:3])
    assert list(document) == ["info", "detection_categories", "classification_categories", "images"]
    assert document["info"]["format_version"] == "1.6"
    assert document["info"]["detector"] == "context_rcnn_resnet101 0.1"
    assert document["info"]["detection_completion_time"] == "2026-05-26 19:11:27"
    metadata = document["info"]["detector_metadata"]
    assert metadata["typical_detection_threshold"] == 0.2
    assert metadata["conservative_detection_threshold"] == 0.05
    assert document["detection_categories"] == {"1": "animal", "2": "person", "3": "vehicle"}
    assert document["classification_categories"]["1"] == "bobcat"
    assert document["images"] == [
        {
            "file": "loc_33/broken.jpg",
            "failure": "image access failure",
            "detections": None,
            "failure_detail": "truncated: ends early",
        },
        {
            "file": "loc_33/im-0001.jpg",
            "detections": [
                {
                    "category": "1",
                    "conf": 0.926,
                    "bbox": [0.2925, 0.2724, 0.1084, 0.1212],
                    "classifications": [["1", 0.926]],
                }
            ],
        },
        {"file": "loc_33/im-0002.jpg", "detections": []},
    ]


def test_people_and_vehicles_have_their_categories_best_detections_first(write, small_run):
    found = write(small_run)["images"][3]["detections"]
    assert [(d["category"], d["conf"], d.get("classifications")) for d in found] == [
        ("2", 0.75, None),
        ("3", 0.4, [["4", 0.4]]),
        ("1", 0.1, [["2", 0.1]]),
    ]


def test_native_categories_are_the_classes_of_the_model(write, small_run):
    document = write(small_run, native_categories=True)
    names = {"1": "bobcat", "2": "coyote", "3": "person", "4": "truck"}
    assert document["detection_categories"] == names
    assert "classification_categories" not in document
    assert [d["category"] for d in document["images"][3]["detections"]] == ["3", "4", "2"]


def test_suspects_are_written_as_removed_and_readers_of_the_format_pass_them_over(write, tmp_path):
    (found,) = write([one(-0.0001)])["images"][0]["detections"]
    assert found["conf"] == -0.001, "rounding must not bring a suspect back"
    (found,) = write([one(-0.9)])["images"][0]["detections"]
    assert found["conf"] == -0.9
    assert found["classifications"] == [["1", 0.9]]
    assert read_megadetector(tmp_path / "md.json").animals == {"a.jpg": []}


def test_whole_numbers_are_floats_all_the_same(write):
    (found,) = write([one(1, box=(0, 0, 1, 1))])["images"][0]["detections"]
    assert isinstance(found["conf"], float)
    assert found["bbox"] == [0.0, 0.0, 1.0, 1.0]


def test_dates_are_written_if_asked_for_as_exif_has_them(write):
    assert "datetime" not in write([one(seconds=1380893513)])["images"][0]
    image = write([one(seconds=1380893513)], datetimes=True)["images"][0]
    assert image["datetime"] == "2013:10:04 13:31:53"
    assert "datetime" not in write([one()], datetimes=True)["images"][0]


def test_what_the_detector_could_not_do_is_told_from_what_no_one_can_read(write):
    images = [ImageResult("a.jpg", failure="not_finite"), ImageResult("b.jpg", failure="too_large")]
    failures = [image["failure"] for image in write(images)["images"]]
    assert failures == ["inference failure", "image access failure"]


def test_taxa_are_descriptions(write):
    taxa = {"bobcat": "x;mammalia;carnivora;felidae;lynx;rufus;bobcat"}
    document = write([one()], taxa=taxa)
    descriptions = document["classification_category_descriptions"]
    assert descriptions["1"] == "x;mammalia;carnivora;felidae;lynx;rufus;bobcat"
    assert set(descriptions) == set(document["classification_categories"])


def test_a_journal_without_images_is_a_file_without_images(write):
    assert write([])["images"] == []


def test_hostile_names_are_plain_json_and_one_line_each(write, tmp_path):
    names = ['<img src=x onerror="x()">.jpg', "a\nb.jpg", "=cmd.jpg", "größe.jpg", "\u2028.jpg"]
    document = write([ImageResult(name, width=1, height=1) for name in names])
    assert sorted(image["file"] for image in document["images"]) == sorted(names)
    assert (tmp_path / "md.json").read_bytes().isascii()


def test_what_is_written_is_read_again(write, small_run, tmp_path, header):
    write(small_run, datetimes=True)
    results = read_megadetector_results(tmp_path / "md.json")
    assert [image.file for image in results.images] == [image.file for image in small_run]
    for found, image in zip(results.images, small_run, strict=True):
        assert (found.failure, found.failure_text) == (image.failure, image.failure_text)
        assert found.seconds == image.seconds
        expected = sorted(image.detections, key=lambda detection: -detection.score)
        for mine, theirs in zip(found.detections, expected, strict=True):
            assert results.label_map[mine.class_id] == header.label_map[theirs.class_id]
            assert mine.score == pytest.approx(theirs.score, abs=5.01e-4)
            assert mine.box == pytest.approx(theirs.box, abs=1.01e-4)


@pytest.mark.parametrize(
    "text", ['{"images": [{"file": "a.jpg"}]}', '{"images": [7]}', '{"images": 7}', "7"]
)
def test_other_files_are_an_error_that_names_them(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="other.json"):
        read_megadetector_results(path)


BREAKS = {
    "version as a number": lambda d: d["info"].update(format_version=1.6),
    "blank category": lambda d: d["detection_categories"].update({"4": " "}),
    "category that is no number": lambda d: d["detection_categories"].update({"x": "animal"}),
    "whole confidence": lambda d: d["images"][1]["detections"][0].update(conf=1),
    "unknown category": lambda d: d["images"][1]["detections"][0].update(category="9"),
    "unknown class": lambda d: d["images"][1]["detections"][0].update(classifications=[["9", 1]]),
    "failure with detections": lambda d: d["images"][0].update(detections=[]),
    "detections missing": lambda d: d["images"][2].pop("detections"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_the_checks_find_what_is_wrong(write, small_run, check_megadetector, what):
    """The checks are ours: so they have to fail on every broken file."""
    document = copy.deepcopy(write(small_run))
    BREAKS[what](document)
    assert check_megadetector(document) is not None


def test_the_formats_own_validator_says_the_same(write, small_run, check_megadetector):
    name = "megadetector.postprocessing.validate_batch_results"
    validator = pytest.importorskip(name, reason="pip install megadetector to run this")

    def errors(document):
        results = validator.validate_batch_results(copy.deepcopy(document))
        return results["validation_results"]["errors"]

    for options in ({}, {"native_categories": True, "datetimes": True}):
        assert errors(write(small_run, **options)) == []
    for what, break_it in BREAKS.items():
        document = write(small_run)
        break_it(document)
        assert errors(document), what
        assert check_megadetector(document), what
