"""SpeciesNet's predictions, by hand."""

import json

import pytest

from context_rcnn.results.options import Options, SpeciesNetOptions
from context_rcnn.results.records import Detection, ImageResult
from context_rcnn.results.speciesnet import read_speciesnet
from context_rcnn.results.write import Outputs, write_results

BOBCAT = "3184697f-51ad-4608-9a28-9edb5500159c;mammalia;carnivora;felidae;lynx;rufus;bobcat"


@pytest.fixture
def write(make_journal, tmp_path):
    def write_and_load(images, **options):
        path = tmp_path / "predictions.json"
        outputs = Outputs(speciesnet=path)
        write_results(make_journal(images), outputs, Options(**options), progress=False)
        return json.loads(path.read_text())

    return write_and_load


def test_the_public_example_comes_out(write, small_run):
    place = SpeciesNetOptions(root="/data/", country="USA", admin1_region="CA")
    document = write(small_run[:2], taxa={"bobcat": BOBCAT}, speciesnet=place)
    assert document["info"] == {"format_version": "20261015"}
    shared = {
        "country": "USA",
        "admin1_region": "CA",
        "model_version": "context_rcnn_resnet101 0.1",
    }
    assert document["predictions"] == [
        {"filepath": "/data/loc_33/broken.jpg", "failures": ["CLASSIFIER", "DETECTOR"], **shared},
        {
            "filepath": "/data/loc_33/im-0001.jpg",
            "detections": [
                {
                    "category": "1",
                    "label": "animal",
                    "conf": 0.926,
                    "bbox": [0.2925, 0.2724, 0.1084, 0.1212],
                    "raw_classifications": {"classes": [BOBCAT], "scores": [0.926]},
                    "processed_classification": {
                        "class": BOBCAT,
                        "score": 0.926,
                        "source": "classifier",
                    },
                }
            ],
            **shared,
        },
    ]


def test_people_are_human_and_unknown_taxa_are_names(write, small_run):
    predictions = write(small_run)["predictions"]
    assert predictions[2]["detections"] == []
    person, truck, coyote = predictions[3]["detections"]
    assert (person["category"], person["label"]) == ("2", "human")
    assert "processed_classification" not in person
    assert (truck["category"], truck["label"]) == ("3", "vehicle")
    assert coyote["processed_classification"]["class"] == ";;;;;;coyote"


def test_in_version_4_the_image_has_the_prediction_of_its_best_box(write, small_run, tmp_path):
    four = SpeciesNetOptions(version=4)
    document = write(small_run, speciesnet=four)
    _, bobcat, empty, several = document["predictions"]
    assert "info" not in document and bobcat["prediction"] == ";;;;;;bobcat"
    assert not any(name.endswith("classification") for name in bobcat["detections"][0])
    read = read_speciesnet(tmp_path / "predictions.json")
    assert [len(image.detections) for image in read.images] == [0, 1, 0, 3]
    blank = "f1856211-cfb7-4a5b-9158-c0f72fd09ee6;;;;;;blank"
    assert (empty["prediction"], empty["prediction_score"]) == (blank, 1.0)
    assert empty["classifications"] == {"classes": [], "scores": []}
    human = "990ae9dd-7a59-4344-afcb-1b7b21368000;mammalia;primates;hominidae;homo;sapiens;human"
    assert (several["prediction"], several["prediction_source"]) == (human, "detector")
    assert several["classifications"] == {
        "classes": [human, ";;;;;;truck", ";;;;;;coyote"],
        "scores": [0.75, 0.4, 0.1],
    }
    (*_, several) = write(small_run, speciesnet=four, typical_threshold=0.8)["predictions"]
    assert (several["prediction"], several["prediction_score"]) == (blank, 0.25)


def test_suspects_are_left_out(write):
    found = (Detection((0, 0, 1, 1), 1, -0.9),)
    document = write([ImageResult("a.jpg", width=1, height=1, detections=found)])
    assert document["predictions"][0]["detections"] == []


def test_what_is_written_is_read_again(write, small_run, tmp_path):
    write(small_run, taxa={"bobcat": BOBCAT})
    predictions = read_speciesnet(tmp_path / "predictions.json")
    assert [image.file for image in predictions.images] == [image.file for image in small_run]
    assert [bool(image.failure) for image in predictions.images] == [True, False, False, False]
    found = [
        (predictions.label_map[one.class_id], one.score)
        for image in predictions.images
        for one in image.detections
    ]
    assert found == [
        (BOBCAT, 0.926),
        ("human", 0.75),
        (";;;;;;truck", 0.4),
        (";;;;;;coyote", 0.1),
    ]
    (bobcat,) = predictions.images[1].detections
    assert bobcat.box == pytest.approx((0.2724, 0.2925, 0.3936, 0.4009), abs=1e-9)


def test_the_legacy_form_is_read(tmp_path):
    path = tmp_path / "v4.json"
    box = {"category": "1", "label": "animal", "conf": 0.93, "bbox": [0.1, 0.2, 0.3, 0.4]}
    person = {"category": "2", "label": "human", "conf": 0.5, "bbox": [0.0, 0.0, 1.0, 1.0]}
    image = {
        "filepath": "loc_33/im-0001.jpg",
        "classifications": {"classes": [BOBCAT], "scores": [0.97]},
        "detections": [box, person],
        "prediction": BOBCAT,
        "prediction_score": 0.97,
    }
    failed = {"filepath": "loc_33/broken.jpg", "failures": ["CLASSIFIER", "DETECTOR"]}
    path.write_text(json.dumps({"predictions": [image, failed]}))
    predictions = read_speciesnet(path)
    first, second = predictions.images
    assert [predictions.label_map[found.class_id] for found in first.detections] == [
        BOBCAT,
        "human",
    ]
    assert first.detections[0].box == pytest.approx((0.2, 0.1, 0.6, 0.4))
    assert second.failure == "CLASSIFIER, DETECTOR"


def test_whole_image_classifications_have_no_box(tmp_path):
    path = tmp_path / "v5.json"
    whole = {"category": "0", "label": "whole_image_classification", "conf": 1.0}
    path.write_text(json.dumps({"predictions": [{"filepath": "a.jpg", "detections": [whole]}]}))
    assert read_speciesnet(path).images == [ImageResult("a.jpg")]


@pytest.mark.parametrize("text", ["[]", '{"predictions": [1]}', '{"predictions": [{}]}'])
def test_other_files_are_an_error_that_names_them(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="other.json"):
        read_speciesnet(path)


def test_megadetectors_converter_reads_them(write, small_run, check_megadetector):
    name = "megadetector.utils.wi_taxonomy_utils"
    converter = pytest.importorskip(
        name, reason="pip install megadetector humanfriendly to run this"
    )
    document = write(small_run, taxa={"bobcat": BOBCAT})
    converted = converter.generate_md_results_from_predictions_json(document)
    assert check_megadetector(converted) is None
    bobcat = converted["images"][1]["detections"][0]["classifications"][0][0]
    assert converted["classification_categories"][bobcat] == "bobcat"
