"""The card of a model, against manifests and evaluations written by hand."""

import hashlib
import json
import types

import numpy as np
import pytest

from context_rcnn.export import card
from context_rcnn.runners.checkup import check_export, signatures_of

T = " 00:00:00"
TOLD = {
    "made_by": "A. Person",
    "license": "CC BY 4.0",
    "intended_use": "to sort photographs",
    "not_for": "counting: it misses young animals",
}


def shard(file, boxed, empty, **others):
    states = {"boxed": boxed, "empty": empty, "image_level": 0, "unlabelled": 0, **others}
    return {"file": file, "split": file.split("-")[0], "records": sum(states.values()), **states}


def split(cameras, boxes, first, last, **classes):
    total = {"boxes": boxes, "first": first, "last": last}
    return {"total": total, "cameras": cameras, "boxes_by_class": classes}


@pytest.fixture
def examples(tmp_path):
    """Two folders with files that train, and one file that does not."""
    first = {
        "shards": [
            shard("train-0", 6, 2, unlabelled=90),
            shard("train-1", 3, 1),
            shard("val-0", 9, 9),
        ],
        "splits": {
            "train": split(
                ["a", "b"], 12, "2020-01-02 00:00:00", "2020-02-03 00:00:00", deer=8, fox=4
            ),
            "val": split(["c"], 30, "2019-01-01 00:00:00", "2021-01-01 00:00:00", deer=30),
        },
    }
    second = {
        "shards": [shard("train-0", 1, 0)],
        "splits": {"train": split(["b", "d"], 2, None, None, deer=2)},
    }
    for name, manifest in (("one", first), ("two", second)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
        for row in manifest["shards"]:
            (tmp_path / name / row["file"]).touch()
    return tmp_path


def test_the_data_is_what_the_manifests_count(examples):
    assert card.learned_from(f"{examples}/one/train-*") == {
        "images": 12,
        "empty_images": 3,
        "boxes": 12,
        "boxes_by_class": {"deer": 8, "fox": 4},
        "cameras": 2,
        "first": "2020-01-02 00:00:00",
        "last": "2020-02-03 00:00:00",
    }
    both = card.learned_from(f"{examples}/one/train-*,{examples}/two/train-*")
    assert (both["images"], both["boxes"], both["cameras"]) == (13, 14, 3)
    assert both["boxes_by_class"] == {"deer": 10, "fox": 4}
    assert both["first"] is both["last"] is None  # the other folder has no dates


def test_a_part_of_a_split_is_not_taken_for_the_whole(examples):
    part = card.learned_from(f"{examples}/one/train-1")
    assert (part["images"], part["empty_images"]) == (4, 1)
    assert {part[name] for name in ("boxes", "cameras", "first", "last")} == {None}
    assert part["boxes_by_class"] is None


def test_what_no_manifest_knows_is_unknown(examples):
    (examples / "two" / "train-9").touch()
    for path in ("one/train-*,{0}/two/train-*", "nowhere-*", ""):
        assert card.learned_from(f"{examples}/{path}".format(examples)) is None, path
    manifest = json.loads((examples / "one/manifest.json").read_text())
    del manifest["splits"]["train"]["boxes_by_class"]  # of an earlier version
    (examples / "one/manifest.json").write_text(json.dumps(manifest))
    older = card.learned_from(f"{examples}/one/train-*")
    assert older["boxes"] == 12 and older["boxes_by_class"] is None
    (examples / "one/manifest.json").write_text("no JSON")
    assert card.learned_from(f"{examples}/one/train-*") is None


@pytest.fixture
def evaluated(tmp_path):
    """A run with evaluations of two steps."""
    for step, value in ((20, 0.5), (100, 0.25)):
        folder = tmp_path / f"run/evaluation/step-{step}"
        folder.mkdir(parents=True)
        metrics = {
            **{"images": 40, "empty_images": 10, "boxes": 50, "step": step},
            **{"mAP@.5": value, "mAP": None},
            "per_class": {"deer": {"AP@.5": 0.75}, "fox": {"AP@.5": None}},
            "per_camera": {"x": {}, "y": {}, "z": {}},
            "false_positives_per_1000_empty_images": {
                "0.9": {"threshold": 0.125, "detections": 200.0, "empty_images": 100.0},
                "0.99": {"threshold": None, "detections": None, "empty_images": None},
            },
        }
        (folder / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "run/params.yaml").touch()
    (tmp_path / "run/best_checkpoint").mkdir()
    return tmp_path / "run"


@pytest.mark.parametrize(
    "checkpoint, step, of_this_model",
    [("best_checkpoint/ckpt-20", 20, True), ("ckpt-60", 100, False), ("weights", 100, False)],
)
def test_the_evaluation_is_of_the_exported_checkpoint_if_there_is_one(
    evaluated, checkpoint, step, of_this_model
):
    for folder in (evaluated, f"{evaluated}/{checkpoint}"):
        found = card.last_evaluation(str(folder), f"{evaluated}/{checkpoint}")
        assert (found["step"], found["of_this_model"]) == (step, of_this_model)
        assert found["metrics"] == {"mAP@.5": {20: 0.5, 100: 0.25}[step]}
        assert found["cameras"] == 3
        assert found["AP@.5_by_class"] == {"deer": 0.75, "fox": None}
        assert found["thresholds"] == [
            {"recall": 0.9, "score": 0.125, "detections_per_1000_empty_images": 200.0}
        ]
    # Of a run inside of another folder with evaluations nothing is known.
    (evaluated / "other").mkdir()
    (evaluated / "other/params.yaml").touch()
    assert card.last_evaluation(f"{evaluated}/other", f"{evaluated}/other/ckpt-20") is None
    assert card.last_evaluation(str(evaluated.parent), "") is None


def of(run, input_path, told):
    temporal = types.SimpleNamespace(type="none")
    backbone = types.SimpleNamespace(kind="c4", model_id=50)
    task = types.SimpleNamespace(
        train_data=types.SimpleNamespace(input_path=input_path),
        model=types.SimpleNamespace(backbone=backbone),
        temporal=temporal,
    )
    trained = types.SimpleNamespace(
        config=types.SimpleNamespace(task=task), folder=str(run), checkpoint=f"{run}/ckpt-20"
    )
    description = {
        **{"name": "animals", "version": "0.2.0", "hash": "5eed", "image_size": [64, 96]},
        **{"classes": {"1": "deer", "2": "fox", "3": "b|ar"}, "proposals": 0},
        **{"memory": None, "stream": None},
    }
    return card.make_card(description, trained, b"task: {}\n", told)


def test_a_card_is_written_for_programs_and_for_people(evaluated, examples, tmp_path):
    (tmp_path / "told.yaml").write_text(json.dumps(TOLD))
    made = of(evaluated, f"{examples}/one/train-*", card.read_told(str(tmp_path / "told.yaml")))
    assert made["settings_hash"] == hashlib.sha256(b"task: {}\n").hexdigest()
    assert [row["training_boxes"] for row in made["classes"]] == [8, 4, 0]
    assert made["told"]["licence"] == "CC BY 4.0" and made["told"]["notes"] is None
    page = card.as_page(json.loads(json.dumps(made)))
    for line in (
        "# animals",
        "- licence: CC BY 4.0",
        "## Not for\n\ncounting: it misses young animals",
        "- images: 12, of which 3 are empty",
        "- time: 2020-01-02 00:00:00 to 2020-02-03 00:00:00",
        "| 2 | fox | 4 |",
        "| 3 | b\\|ar | 0 |",
        "- step: 20, of this model",
        "| mAP@.5 | 0.5 |",
        "| fox | unknown |",
        "| 0.9 | 0.125 | 200 |",
    ):
        assert line in page, line
    assert "## Notes" not in page and "None" not in page


def test_nothing_is_guessed(tmp_path):
    page = card.as_page(of(tmp_path, "", card.read_told("")))
    for line in (
        "- made by: unknown",
        "- licence: unknown",
        "## Intended use\n\nunknown",
        "- images: unknown",
        "- time: unknown",
        "| 1 | deer | unknown |",
        "Unknown: the run has no evaluation.",
    ):
        assert line in page, line


@pytest.mark.parametrize(
    "text, message",
    [
        ("licence: 3", r"told.yaml: licence: expected a text, got 3"),
        ("licence: ''", r"licence: expected a text, got ''"),
        ("licens: MIT", r"'licens' is not one of made_by, licence"),
        ("- MIT", r"expected lines like `licence: CC BY 4.0`"),
        ("a: [", r"told.yaml: neither YAML nor JSON"),
    ],
)
def test_a_wrong_file_of_texts_names_the_field(tmp_path, text, message):
    (tmp_path / "told.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        card.read_told(str(tmp_path / "told.yaml"))
    with pytest.raises(ValueError, match="nowhere.yaml: no such file"):
        card.read_told("nowhere.yaml")


def test_a_card_that_is_none_or_newer_is_refused(tmp_path):
    assert card.read_card(str(tmp_path)) is None
    (tmp_path / card.CARD).write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="is no model card"):
        card.read_card(str(tmp_path))
    (tmp_path / card.CARD).write_text(json.dumps({"format": card.FORMAT, "format_version": 99}))
    with pytest.raises(ValueError, match="format version 99 is newer"):
        card.read_card(str(tmp_path))


def test_a_checkup_tries_the_model_and_measures_its_memory(export, loaded, tmp_path):
    lines, problems = check_export(export.folder)
    assert not problems
    # 4 entries, in 2 heads of 16 numbers, keys and values of 4 bytes.
    size = export.description["memory"]["entry_size"]
    assert (
        f"memory: up to 4 entries of {size} numbers from the last day; their keys and values take "
        f"{4 * 2 * 16 * 2 * 4 / 1e3:,.0f} kB"
    ) in lines
    state = loaded.initial_state(1)
    total = sum(np.prod(part.shape) * part.dtype.size for part in state.values())
    assert f"state of a camera in step: {total / 1e3:,.0f} kB, which never grows" in lines
    assert signatures_of(export.description) == set(loaded.signatures)

    (tmp_path / "saved_model").symlink_to(f"{export.folder}/saved_model")
    (tmp_path / "model.json").write_text(json.dumps({**export.description, "version": "0.1.0"}))
    with pytest.raises(ValueError, match="cannot be used: model.json is not that of the model"):
        check_export(str(tmp_path))
