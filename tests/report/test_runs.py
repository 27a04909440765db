"""Reading evaluations: the newest, and errors that name file and field."""

import json

import pytest

from context_rcnn.report.explanations import cut_off, read_explanations, time_differences
from context_rcnn.report.runs import evaluation_folder, read_run
from tests.report.conftest import IMAGES, MEMORY, write_explanations, write_run


def change(folder, name, edit):
    file = folder / "evaluation" / "step-7" / name
    content = json.loads(file.read_text())
    content = edit(content) or content
    file.write_text(json.dumps(content))


def test_the_newest_step_is_taken_by_number(tmp_path):
    write_run(tmp_path / "run", IMAGES, MEMORY)
    step = tmp_path / "run" / "evaluation" / "step-7"
    for name in ("step-10", "step-9", "best"):
        (tmp_path / "run" / "evaluation" / name).mkdir()
        (tmp_path / "run" / "evaluation" / name / "metrics.json").write_text("{}")
    newest = str(tmp_path / "run" / "evaluation" / "step-10")
    assert evaluation_folder(str(tmp_path / "run"), "--evaluation") == newest
    assert evaluation_folder(str(tmp_path / "run" / "evaluation"), "--evaluation") == newest
    assert evaluation_folder(str(step), "--evaluation") == str(step)


def test_detections_are_ordered_by_image_and_score(tmp_path):
    run = read_run(str(write_run(tmp_path / "run", IMAGES, MEMORY)), "--evaluation")
    place = run.image_ids.index("c")
    assert run.found.scores[run.found.of(place)].tolist() == [0.6, 0.1]
    assert run.found.edges[run.found.of(place)][0].tolist() == pytest.approx([0.12, 0.6, 0.32, 0.8])
    assert [run.is_empty(i) for i in range(5)] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("metrics.json", lambda c: c.pop("AR@1") and None, "metrics.json: 'AR@1' is missing"),
        ("metrics.json", lambda c: c.update(per_class=[]), "'per_class' is []"),
        ("metrics.json", lambda c: c["per_camera"].update(x={"AR@1": "<b>"}), "'AR@1' of 'x'"),
        ("metrics.json", lambda c: c.update({"mAP@.5": float("nan")}), "NaN is no number"),
        ("groundtruth_coco.json", lambda c: c.update(images=[]), "nothing was evaluated"),
        ("groundtruth_coco.json", lambda c: c["images"][2].pop("file_name") and None, "row 2: 'fi"),
        ("groundtruth_coco.json", lambda c: c["images"][1].update(width=0), "image 1: 'width'"),
        ("groundtruth_coco.json", lambda c: c["images"][1].update(file_name="a"), "'a' twice"),
        ("groundtruth_coco.json", lambda c: c.pop("annotations") and None, "'annotations' is miss"),
        ("detections_coco.json", lambda c: c[1].update(bbox=[1, 2]), "row 1: 'bbox' is [1, 2]"),
        ("detections_coco.json", lambda c: c[1].update(score="high"), "row 1: 'score'"),
        (
            "detections_coco.json",
            lambda c: c[1].update(image_id=77),
            "'image_id' 77 is of no image",
        ),
        ("detections_coco.json", lambda c: c[0].update(category_id=9), "9 is of no class"),
        ("detections_coco.json", lambda c: {"a": 1}, "expected a JSON list"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_field(tmp_path, name, edit, message):
    folder = write_run(tmp_path / "run", IMAGES, MEMORY)
    change(folder, name, edit)
    with pytest.raises(ValueError) as error:
        read_run(str(folder), "--baseline")
    assert message in str(error.value) and name in str(error.value)


def test_missing_folders_and_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="--baseline=.*nowhere"):
        read_run(str(tmp_path / "nowhere"), "--baseline")
    folder = write_run(tmp_path / "run", IMAGES, MEMORY)
    (folder / "evaluation" / "step-7" / "detections_coco.json").unlink()
    with pytest.raises(ValueError, match="detections_coco.json is missing"):
        read_run(str(folder), "--baseline")


def test_time_differences_are_of_the_best_detection_and_of_enough_weight(tmp_path):
    path = write_explanations(
        tmp_path / "e.jsonl",
        [
            ("a", "cat", 0.9, [("b", -3600, 0.5), ("c", 60, 0.009), ("d", None, 0.2)]),
            ("b", "cat", 0.9, [("a", 86400, 0.01)]),
            ("c", "cat", 0.9, []),
        ],
    )
    lines = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    weaker = json.loads(json.dumps(lines[1]["detections"][0])) | {"score": 0.1}
    weaker["attention"][0]["seconds_apart"] = 5
    lines[0]["detections"].insert(0, weaker)
    (tmp_path / "e.jsonl").write_text("\n".join(map(json.dumps, lines)))
    keyframes = read_explanations(path)
    assert time_differences(keyframes) == ([-3600, 86400], 1)
    assert cut_off(keyframes) == (3, 1)
    assert keyframes[0].detections[0].edges == (0.1, 0.1, 0.3, 0.3)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda row: row.pop("detections"), "line 1: 'detections'"),
        (lambda row: row["detections"][0].update(box=[1, 2, 3]), "detection 0: 'box'"),
        (lambda row: row["detections"][0].update(score=None), "detection 0: 'score'"),
        (
            lambda row: row["detections"][0]["attention"][0].update(weight=float("inf")),
            "detection 0, attention 0: 'weight' is inf",
        ),
    ],
)
def test_bad_explanations_are_named_by_line_and_field(tmp_path, edit, message):
    path = write_explanations(tmp_path / "e.jsonl", [("a", "cat", 0.9, [("b", 1, 0.5)])])
    row = json.loads((tmp_path / "e.jsonl").read_text())
    edit(row)
    (tmp_path / "e.jsonl").write_text(json.dumps(row))
    with pytest.raises(ValueError) as error:
        read_explanations(path)
    assert message in str(error.value) and "e.jsonl" in str(error.value)
