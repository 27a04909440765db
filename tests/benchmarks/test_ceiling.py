"""What a memory could gain, on cases worked out by hand and on simulated archives."""

import json
import math
import sys

import numpy as np
import pytest

from benchmarks.ceiling import __main__ as ceiling
from benchmarks.ceiling import detections, pooling, reaches
from benchmarks.ceiling.boxes import Boxes, group_numbers, guesses_of, read_study
from context_rcnn.data.archive import ArchiveOptions, read_archive
from context_rcnn.simulation import simulate_camera_traps, simulate_videos

NOTHING = {"own box": reaches.own_box}


def boxes(classes, shows, *, times=None, identities=None, groups=None, bursts=None, camera="a"):
    count = len(classes)
    return Boxes(
        camera=camera,
        images=np.arange(count),
        times=np.array(times if times is not None else range(count)),
        bursts=np.array(bursts if bursts is not None else [0] * count),
        classes=np.array(classes),
        groups=np.array(groups if groups is not None else [0] * count),
        identities=np.array(identities if identities is not None else [0] * count),
        shows=np.array(shows, bool),
        places=np.tile([0.0, 0.0, 10.0, 10.0], (count, 1)),
    )


def accuracies(cameras, chosen, judge=None):
    rows = pooling.measure(cameras, chosen, judge or pooling.by_labels(guesses_of(cameras)))
    return {row.reach: row.accuracy for row in rows}


def test_a_track_is_known_as_far_as_the_reach_goes():
    # One zebra (1) that shows itself in frame 0 only, one horse (2) that never does.
    zebra = boxes([1] * 6, [1, 0, 0, 0, 0, 0], camera="a")
    horse = boxes([2] * 6, [0] * 6, camera="b")
    chosen = {"own": reaches.own_box, "3": reaches.frames(3), "5": reaches.frames(5),
              "all": reaches.everything}  # fmt: skip
    # The most common hidden class is the horse: 6 of its boxes against 5 of the zebra's.
    right = {name: 100 * (6 + n) / 12 for name, n in (("own", 1), ("3", 2), ("5", 3), ("all", 6))}
    found = accuracies([zebra, horse], chosen)
    assert {name: row["identity"] for name, row in found.items()} == pytest.approx(right)


def test_look_alikes_together_outvote_each_other_and_share_a_draw():
    # Frame 0: a zebra shows itself, frame 1: it hides; horses (2) show themselves twice, then once.
    one = boxes([1, 1, 2, 2], [1, 0, 1, 1], identities=[0, 0, 1, 1])
    found = accuracies([one], {"all": reaches.everything})["all"]
    assert found == {"alike": 75.0, "identity": 100.0}
    draw = boxes([1, 1, 2], [1, 0, 1], identities=[0, 0, 1])
    assert accuracies([draw], {"all": reaches.everything})["all"]["alike"] == pytest.approx(
        100 * 2.5 / 3
    )
    apart = boxes([1, 1, 2, 2], [1, 0, 1, 1], identities=[0, 0, 1, 1], groups=[0, 0, 1, 1])
    assert accuracies([apart], {"all": reaches.everything})["all"]["alike"] == 100.0


def test_states_are_counted_apart():
    one = boxes([1, 1, 2, 2], [1, 0, 0, 0], identities=[0, 0, 1, 1])
    rows = pooling.measure([one], {"all": reaches.everything}, pooling.by_labels(guesses_of([one])))
    assert rows[0].by_state["identity"] == {
        "clear": 100.0, "seen elsewhere": 100.0, "hidden throughout": 100.0,
    }  # fmt: skip
    (alone,) = pooling.measure([one], NOTHING, pooling.by_labels(guesses_of([one])))
    assert alone.by_state["identity"]["seen elsewhere"] == 0.0  # most hidden boxes are of class 2


def test_mean_scores_decide_and_boxes_not_found_do_not_count():
    one = boxes([1, 1, 1, 2], [0] * 4, identities=[0, 0, 0, 1])
    nan = math.nan
    scores = {"a": np.array([[0, 0.4, 0.5], [0, 0.9, 0.1], [nan] * 3, [0, 0.3, 0.2]])}
    found = accuracies([one], {**NOTHING, "all": reaches.everything}, pooling.by_scores(scores))
    assert found["own box"]["identity"] == pytest.approx(100 / 3)  # only the second
    assert found["all"] == pytest.approx({"identity": 200 / 3, "alike": 200 / 3})


def test_the_window_of_mega_by_hand():
    one = boxes([1] * 40, [0] * 40)
    reach = reaches.mega(one)
    for time in range(40):
        seen = set(np.flatnonzero(reach[time]))
        near = {t for t in range(time - 6, time + 3) if 0 <= t < 40}
        assert near <= seen and len(seen - near) <= 5
    far = [len(set(np.flatnonzero(reach[t])) - set(range(t - 6, t + 3))) for t in range(40)]
    assert 2 < np.mean(far) <= 5
    np.testing.assert_array_equal(reach, reaches.mega(one))


def test_the_windows_of_stmn_by_hand():
    seen = reaches.stmn(boxes([1] * 40, [0] * 40))
    assert np.flatnonzero(seen[20]).tolist() == [12, 14, 16, 18, 20, 22, 24, 26, 28]
    assert np.flatnonzero(seen[1]).tolist() == [1, 3, 5, 7, 9]


def test_horizons_reach_half_to_each_side_and_bursts_end():
    day = 24 * 3600
    one = boxes([1] * 4, [0] * 4, times=[0, 20, 40, 40 + day // 2], bursts=[0, 0, 1, 2])
    minute, burst = reaches.seconds(60)(one), reaches.burst(one)
    assert minute[0].tolist() == [True, True, False, False]
    assert burst[1].tolist() == [True, True, False, False]
    assert reaches.seconds(day)(one)[2].tolist() == [True] * 4
    assert reaches.seconds(day)(one)[1].tolist() == [True, True, True, False]


def test_detections_are_matched_to_the_true_box_they_overlap_most():
    truth = np.array([[0, 0, 10, 10], [8, 0, 18, 10], [40, 40, 50, 50]]) / 50
    found = (
        np.array([[0, 0, 10, 10], [1, 0, 11, 10], [8, 0, 18, 11], [40, 40, 44, 50], [0] * 4]) / 50
    )
    scores = detections.match(
        truth, found, np.array([0.3, 0.6, 0.5, 0.9, -1]), np.array([1, 2, 1, 1, 0]), 3
    )
    np.testing.assert_array_equal(scores[:2], [[0, 0.3, 0.6], [0, 0.5, 0]])
    assert np.isnan(scores[2]).all()  # overlaps by .4 only


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("ceiling") / "videos"
    simulate_videos(root, videos=10, frames=24, image_size=(96, 72), cell=6.0, val_fraction=0.9,
                    never_shown=(), rare_poses=(), animals=2)  # fmt: skip
    return root


def study_of(split="val", **source):
    options = ArchiveOptions(**source)
    return read_study(options, read_archive(options), split)


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["ceiling", *map(str, arguments)])
    ceiling.main()
    return capsys.readouterr().out


def test_simulated_videos_from_the_command_line(videos, monkeypatch, capsys, tmp_path):
    out = run(monkeypatch, capsys, f"--imagenet_vid_root={videos}", f"--json={tmp_path}/c.json")
    facts = json.loads((tmp_path / "c.json").read_text())
    found = [row["accuracy"]["identity"] for row in facts["rows"]]
    # Each reach has the ones before it, but for MEGA's and STMN's.
    assert found[0] < found[1] <= found[2] <= found[3] <= found[-1]
    assert facts["ceiling_over_single_frame"] == pytest.approx(max(found) - found[0])
    assert facts["fit_for_a_table"] == (max(found) - found[0] >= 15)
    assert "| whole video | " in out and "points above the single frame" in out
    # Worked out from the side files: tracks that show themselves somewhere are known throughout.
    shown, hidden = 0, []
    for path in (videos / "Visibility/VID/val").glob("*.json"):
        tracks = {}
        for lines in json.loads(path.read_text())["frames"].values():
            for line in lines:
                tracks.setdefault(line["trackid"], []).append(line["shows"])
        shown += sum(len(shows) for shows in tracks.values() if any(shows))
        hidden += [len(shows) for shows in tracks.values() if not any(shows)]
    assert shown + sum(hidden) == facts["boxes"]
    assert 100 * shown / facts["boxes"] <= found[-1]


def test_a_detector_that_reads_what_shows_has_all_clear_boxes_right(videos):
    """Scores as a perfect reader gives them: its class, or both look-alikes, the first a little."""
    study = study_of(imagenet_vid_root=str(videos))
    names = {number: name for number, name in study.classes.items()}
    first = {}
    for one in study.cameras:
        for group, name in zip(one.groups.tolist(), one.classes.tolist(), strict=True):
            first[group] = min(first.get(group, name), name)
    truth = {
        path.read_bytes(): (one, place, record)
        for one, records in zip(study.cameras, study.records, strict=True)
        for place, record in enumerate(records)
        for path in [study.root / record.file_name]
    }

    def detect(encoded):
        rows = []
        for data in encoded:
            one, place, record = truth[data]
            found = []
            for k in np.flatnonzero(one.images == place):
                box = one.places[k] / np.tile([record.width, record.height], 2)
                box = box[[1, 0, 3, 2]]
                if one.shows[k]:
                    found.append((box, 0.9, one.classes[k]))
                else:
                    found.append((box, 0.5, first[one.groups[k]]))
            rows.append(found + [(np.zeros(4), -1, 0)] * (10 - len(found)))
        return {
            "boxes": np.array([[box for box, _, _ in row] for row in rows]),
            "scores": np.array([[score for _, score, _ in row] for row in rows]),
            "classes": np.array([[name for _, _, name in row] for row in rows]),
        }

    scores = dict(detections.scores_of_study(study, detect, names))
    judge = pooling.by_scores(scores)
    (single,) = pooling.measure(study.cameras, NOTHING, judge)
    assert single.by_state["identity"]["clear"] == 100.0
    assert detections.plain_right(study.cameras, scores) == 1.0
    with pytest.raises(ValueError, match="--model does not know the class"):
        next(iter(detections.scores_of_study(study, detect, {1: "bicycle"})))


def test_camera_traps_are_measured_by_their_calendar(tmp_path, monkeypatch, capsys):
    root = tmp_path / "traps"
    simulate_camera_traps(root, cameras=12, days=20, triggers_per_day=1, empty_fraction=0.2,
                          species=4, val_fraction=0.5, image_size=(64, 64))  # fmt: skip
    archive = [f"--input_json={root}/camera_traps.json", f"--image_root={root}/images"]
    splits = f"--splits_file={root}/splits.json"
    out = run(monkeypatch, capsys, *archive, splits, f"--json={tmp_path}/c.json")
    rows = json.loads((tmp_path / "c.json").read_text())["rows"]
    found = {row["reach"]: row["accuracy"]["identity"] for row in rows}
    assert list(found) == ["own box", "burst", "minute", "day", "week", "month"]
    assert found["own box"] < found["week"] <= found["month"]
    assert abs(found["burst"] - found["own box"]) < 3  # all of a burst hide, or none
    assert "true species" in out


def test_what_is_not_simulated_is_refused(videos, tmp_path, monkeypatch, capsys):
    with pytest.raises(ValueError, match="there is no 'test', only train, val"):
        study_of("test", imagenet_vid_root=str(videos))
    marker = videos / "simulation.json"
    text = marker.read_text()
    marker.write_text("{}")
    try:
        with pytest.raises(SystemExit):
            run(monkeypatch, capsys, f"--imagenet_vid_root={videos}")
        assert "has no look-alikes" in capsys.readouterr().err
    finally:
        marker.write_text(text)


def test_look_alikes_have_one_number():
    numbers = group_numbers([("zebra", "horse"), ("bear", "panda")], ["bear", "horse", "zebra"])
    assert numbers["zebra"] == numbers["horse"] != numbers["bear"]
