"""`context-rcnn link` as people type it."""

import json

import numpy as np
import pytest

from context_rcnn import cli
from context_rcnn.evaluation import coco
from context_rcnn.evaluation.groundtruth import Image
from context_rcnn.evaluation.seq_nms import SeqNmsOptions, link_detections

IMAGES = [{"id": 10 + t, "file_name": f"{t}", "video_id": 1, "frame_id": t} for t in range(3)]
ROWS = [
    {"image_id": 10, "category_id": 3, "bbox": [20, 20, 40, 40], "score": 0.9, "id": "a"},
    {"image_id": 11, "category_id": 3, "bbox": [22, 20, 40, 40], "score": 0.1},
    {"image_id": 11, "category_id": 3, "bbox": [30, 20, 40, 40], "score": 0.05},
    {"image_id": 12, "category_id": 3, "bbox": [24, 20, 40, 40], "score": 0.8},
    {"image_id": 12, "category_id": 4, "bbox": [24, 20, 40, 40], "score": 0.2},
]


def run(capsys, *argv):
    try:
        status = cli.main(["link", *map(str, argv)])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def link(capsys, tmp_path):
    """Links these images and rows; returns the status, what was written, and what was said."""

    def call(images=IMAGES, rows=ROWS, *options):
        truth, found, out = (tmp_path / name for name in ("truth.json", "found.json", "out.json"))
        for path, content in ((truth, {"images": images}), (found, rows)):
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        flags = [f"--groundtruth={truth}", f"--detections={found}", "-o", out, *options]
        status, said, error = run(capsys, *flags)
        written = json.loads(out.read_text()) if out.exists() else None
        assert not list(tmp_path.glob("*.partial"))
        return status, written, said + error

    return call


def test_it_has_help_with_examples(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0 and "usage: context-rcnn link" in out and "examples:" in out


def test_rows_get_the_score_of_their_tube(link):
    status, written, said = link()
    assert status == 0
    assert [row["score"] for row in written] == pytest.approx([0.6, 0.6, 0.6, 0.2])
    assert [row | {"score": 0} for row in written] == [
        row | {"score": 0} for i, row in enumerate(ROWS) if i != 2
    ]
    assert (
        "3 images, 1 videos, 2 images with a next frame, 5 detections, 1 tubes, 3 linked "
        "detections, 1 suppressed detections"
    ) in said


def test_options_are_those_of_seq_nms(link):
    assert [row["score"] for row in link(IMAGES, ROWS, "--rescore=maximum")[1]] == [0.9] * 3 + [0.2]
    assert len(link(IMAGES, ROWS, "--nms_iou=0.9")[1]) == 5
    alone = link(IMAGES, ROWS, "--link_iou=0.95")[1]
    assert [row["score"] for row in alone] == [0.9, 0.1, 0.8, 0.2]
    low = link(IMAGES, ROWS, "--score_threshold=0.15")[1]
    assert [row["score"] for row in low] == [row["score"] for row in ROWS]


@pytest.mark.parametrize("change", [{"video_id": "other"}, {"frame_id": 7}])
def test_other_videos_and_missing_frames_end_links(link, change):
    _, written, _ = link([*IMAGES[:2], IMAGES[2] | change])
    assert [row["score"] for row in written] == pytest.approx([0.5, 0.5, 0.8, 0.2])


def test_nothing_detected_is_written_as_nothing(link):
    assert link(IMAGES, [])[:2] == (0, [])


@pytest.mark.parametrize("rescore", ["average", "best_half"])
def test_the_files_of_an_evaluation_give_what_the_evaluation_gives(link, rescore):
    rng = np.random.default_rng(4)
    images, detections = [], coco.Detections()
    for place in (100, 101, 102, 104, 105, 106, 107):  # two bursts, one with a gap
        burst = "late" if place > 105 else "early"
        labels = np.zeros((0, 4)), np.zeros(0, np.int64)
        images.append(Image(f"{place}", place, "cam", 320, 200, *labels, burst, place))
        start = rng.choice([0.1, 0.5], (8, 1)) + rng.normal(0, 0.02, (8, 2))
        boxes = np.concatenate([start, start + 0.3], axis=1)
        detections.add(place, boxes, rng.uniform(0, 1, 8), rng.integers(1, 3, 8))
    names = {1: "cat", 2: "dog"}
    truth, rows = coco.to_coco(images[::-1], detections, names)
    assert [video["name"] for video in truth["videos"]] == ["late", "early"]
    assert [row["frame_id"] for row in truth["images"]] == [1, 0, 5, 4, 2, 1, 0]
    _, written, said = link(truth["images"], rows, f"--rescore={rescore}")
    left, tubes = link_detections(images, detections, SeqNmsOptions(rescore=rescore))
    _, expected = coco.to_coco(images[::-1], left, names)

    def values(rows):
        return sorted([r["image_id"], r["category_id"], *r["bbox"], r["score"]] for r in rows)

    np.testing.assert_allclose(values(written), values(expected), rtol=1e-9)
    assert f"{tubes.counts['suppressed_detections']} suppressed" in said
    assert tubes.counts["tubes"] > 3 and "4 images with a next frame" in said


def changed(rows, place, **values):
    """A copy with other values in one row; ... takes a field out."""
    row = {name: value for name, value in (rows[place] | values).items() if value is not ...}
    return [*rows[:place], row, *rows[place + 1 :]]


@pytest.mark.parametrize(
    ("images", "rows", "message"),
    [
        (changed(IMAGES, 1, frame_id=...), ROWS, "truth.json: images[1]: field 'frame_id' is miss"),
        (changed(IMAGES, 0, video_id=None), ROWS, "images[0]: field 'video_id' is None, expected"),
        (changed(IMAGES, 1, frame_id="2"), ROWS, "images[1]: field 'frame_id' is '2', expected"),
        (changed(IMAGES, 1, frame_id=1.5), ROWS, "field 'frame_id' is 1.5"),
        (changed(IMAGES, 1, id=10), ROWS, "truth.json: images[1]: id '10' occurs before"),
        (changed(IMAGES, 1, frame_id=0), ROWS, "frame_id 0 of video_id '1' is that of image '10'"),
        ([3], ROWS, "images[0]: must be an object, is a number"),
        ("all", ROWS, "truth.json: field 'images' must be a list, found a string"),
        (IMAGES, changed(ROWS, 2, score=float("nan")), "row 2: field 'score' is nan, expected a"),
        (IMAGES, changed(ROWS, 2, score="high"), "found.json: row 2: field 'score' is 'high'"),
        (IMAGES, changed(ROWS, 2, score=...), "row 2: field 'score' is missing"),
        (IMAGES, changed(ROWS, 0, image_id=5), "row 0: image_id '5' is of no image in"),
        (IMAGES, changed(ROWS, 0, category_id=...), "row 0: field 'category_id' is missing"),
        (IMAGES, changed(ROWS, 4, bbox=[1, 2, 3]), "row 4: field 'bbox' is [1, 2, 3], expected x"),
        (IMAGES, changed(ROWS, 4, bbox=[1, 2, 3, -4]), "row 4: field 'bbox' is [1, 2, 3, -4]"),
        (IMAGES, [*ROWS, None], "row 5: must be an object, is nothing"),
        (IMAGES, {"annotations": []}, "found.json: the top level must be a list, found an object"),
        (IMAGES, "[{", "found.json: not a JSON file"),
    ],
)
def test_bad_input_is_named_by_file_and_field(link, images, rows, message):
    status, written, said = link(images, rows)
    assert status == 2 and written is None
    assert message in said and "context-rcnn link: error: " in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--groundtruth=none.json --detections=found.json -o out.json", "none.json"),
        ("--groundtruth=truth.json --detections=none.json -o out.json", "none.json"),
        ("--groundtruth=truth.json --detections=found.json -o found.json", "found.json: is read"),
        ("--groundtruth=truth.json --detections=found.json -o no/out.json", "folder does not exis"),
        ("--groundtruth=truth.json --detections=found.json", "-o/--output"),
        ("--groundtruth=truth.json -o out.json", "at least one file with detections"),
        ("found.json none.json --groundtruth=truth.json -o out.json", "none.json"),
        (
            "found.json --groundtruth=truth.json -o out.json --rule=nms --rescore=maximum",
            "--rescore means nothing to --rule nms",
        ),
        (
            "found.json --groundtruth=truth.json -o out.json --rule=viterbi --most=0",
            "viterbi.most must be at least 1, got 0",
        ),
        (
            "--groundtruth=truth.json --detections=found.json -o out.json --link_iou=2",
            "seq_nms.link_iou must be at least 0 and below 1, got 2.0",
        ),
        (
            "--groundtruth=truth.json --detections=found.json -o out.json --rescore=best",
            "argument --rescore: invalid choice: 'best'",
        ),
    ],
)
def test_mistakes_end_in_a_sentence(capsys, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "truth.json").write_text(json.dumps({"images": IMAGES}))
    (tmp_path / "found.json").write_text(json.dumps(ROWS))
    status, _, err = run(capsys, *flags.split())
    assert status == 2 and message in err and "Traceback" not in err
    assert json.loads((tmp_path / "found.json").read_text()) == ROWS
    assert {path.name for path in tmp_path.iterdir()} == {"truth.json", "found.json"}


def test_the_help_gives_each_rule_its_own_name(capsys):
    with pytest.raises(SystemExit):
        cli.main(["link", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "best_half, the mean of their better half, from no paper" in said
    assert "viterbi is the rule of STMN's released code" in said


OTHER = [
    {"image_id": 10, "category_id": 3, "bbox": [20, 20, 40, 40], "score": 0.3},
    {"image_id": 11, "category_id": 3, "bbox": [80, 20, 40, 40], "score": 0.6},
    {"image_id": 12, "category_id": 3, "bbox": [80, 20, 40, 40], "score": 0.5},
]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in (("truth", {"images": IMAGES}), ("a", ROWS), ("b", OTHER)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def linked(capsys, files, *flags):
    status, said, error = run(capsys, *flags, "--groundtruth=truth.json", "-o", "out.json")
    assert status == 0, error
    return json.loads((files / "out.json").read_text()), said


def test_detections_of_two_detectors_are_joined_and_then_linked(capsys, files):
    """By hand: of the first frame the better box stays, and the other detector's object is new."""
    rows, said = linked(capsys, files, "a.json", "b.json")
    assert "8 detections, 2 tubes" in said
    scores = {(r["image_id"], r["category_id"], r["bbox"][0]): r["score"] for r in rows}
    assert scores == pytest.approx(
        {
            (10, 3, 20): 0.6,
            (11, 3, 22): 0.6,
            (12, 3, 24): 0.6,
            (12, 4, 24): 0.2,
            (11, 3, 80): 0.55,
            (12, 3, 80): 0.55,
        }
    )


def test_joined_detections_can_be_suppressed_frame_by_frame(capsys, files):
    rows, said = linked(capsys, files, "a.json", "b.json", "--rule=nms")
    assert "2 dropped detections" in said  # of two equal boxes the worse, and one beside a better
    assert rows == [ROWS[0], ROWS[1], ROWS[3], ROWS[4], OTHER[1], OTHER[2]]
    assert len(linked(capsys, files, "a.json", "b.json", "--rule=nms", "--nms_iou=1")[0]) == 8


def test_the_released_rule_raises_what_lies_on_a_path(capsys, files):
    """Own score plus twice the mean of the better half, .85; what is left over keeps its score."""
    rows, said = linked(capsys, files, "a.json", "--rule=viterbi")
    scores = {(r["image_id"], r["category_id"]): r["score"] for r in rows}
    assert scores == pytest.approx(
        {(10, 3): 0.9 + 1.7, (11, 3): 0.1 + 1.7, (12, 3): 0.8 + 1.7, (12, 4): 0.2 + 0.4}
    )
    assert "2 paths, 4 linked detections, 1 dropped detections" in said
