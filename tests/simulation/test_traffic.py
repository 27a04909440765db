"""What `simulate_traffic` writes."""

import colorsys
import datetime
import json
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from context_rcnn.simulation import simulate_traffic
from context_rcnn.simulation.canvas import generator
from context_rcnn.simulation.roads import build_road
from context_rcnn.simulation.traffic import draw_frame
from context_rcnn.simulation.traffic_flow import Flow, Timetable, Traffic, park
from context_rcnn.simulation.vehicles import TYPES, road_fleet, shares_of_a_road

TINY = dict(cameras=2, days=1, clips_per_day=2, frames_per_clip=6, seed=4, image_size=(176, 120))


def read(path):
    """The vehicles of a frame: (track, box, type, direction, previous)."""
    tags = ("xmin", "ymin", "xmax", "ymax")
    return [
        (
            int(v.findtext("id")),
            tuple(int(v.find("bndbox").findtext(t)) for t in tags),
            int(v.findtext("type")),
            int(v.findtext("direction")),
            int(v.findtext("previous")),
        )
        for v in ET.parse(path).getroot().iter("vehicle")
    ]


def clip_folders(root):
    return sorted(p for p in root.glob("[0-9]*/*") if p.is_dir())


@pytest.fixture(scope="module")
def frames(clips):
    """Vehicles of all frames by clip, in order."""
    return {f.name: [read(p) for p in sorted(f.glob("*.xml"))] for f in clip_folders(clips)}


def test_layout_is_that_of_citycam(clips):
    folders = clip_folders(clips)
    assert len(folders) == 6
    for folder in folders:
        camera, day, hour = folder.name.split("-")
        assert camera == folder.parent.name
        datetime.datetime.strptime(day + hour, "%Y%m%d%H")
        stems = [f"{n:06d}" for n in range(1, 43)]
        assert sorted(p.stem for p in folder.glob("*.jpg")) == stems
        assert sorted(p.stem for p in folder.glob("*.xml")) == stems
        header, *corners = folder.with_name(folder.name + ".msk").read_text().splitlines()
        assert not header.startswith("[") and len(corners) >= 4
        for x, y in (json.loads(corner) for corner in corners):
            assert 0 <= x < 352 and 0 <= y < 240


def test_frames_say_when_they_were_taken(clips):
    for folder in clip_folders(clips):
        times = []
        for number, path in enumerate(sorted(folder.glob("*.xml")), 1):
            root = ET.parse(path).getroot()
            assert int(root.findtext("frame")) == number
            with Image.open(path.with_suffix(".jpg")) as image:
                assert image.size == (352, 240)
            times.append(datetime.datetime.fromisoformat(root.findtext("time")))
        assert {(b - a).total_seconds() for a, b in zip(times, times[1:], strict=False)} == {1.0}
        assert {f"{t:%Y%m%d-%H}" for t in times} == {folder.name.split("-", 1)[1]}


def test_boxes_are_inside_the_image(frames):
    for vehicles in frames.values():
        for _, (xmin, ymin, xmax, ymax), *_ in (v for frame in vehicles for v in frame):
            assert 0 <= xmin < xmax <= 352 and 0 <= ymin < ymax <= 240


def test_about_fourteen_vehicles_a_frame(frames):
    counts = [len(frame) for vehicles in frames.values() for frame in vehicles]
    assert 11.5 < np.mean(counts) < 16.5


def test_frames_have_many_types(frames):
    counts = Counter(v[2] for vehicles in frames.values() for frame in vehicles for v in frame)
    assert set(counts) <= set(range(1, 11)) and len(counts) >= 7


def test_roads_differ_and_together_have_a_long_tail():
    roads = np.stack([shares_of_a_road(generator(0, i)) for i in range(4000)])
    np.testing.assert_allclose(roads.sum(axis=1), 1)
    common = np.argsort(-roads.mean(axis=0))
    shares = np.array([kind.share for kind in TYPES])
    assert list(common[:3]) == list(np.argsort(-shares)[:3])
    assert roads.mean(axis=0)[8] == 0  # big buses keep a timetable
    assert (roads.mean(axis=0)[shares > 0] > 0.5 * shares[shares > 0] / shares.sum()).all()
    taxis = roads[:, 0]
    assert np.quantile(taxis, 0.25) < 0.05 and np.quantile(taxis, 0.75) > 0.2


def test_a_road_has_what_its_shares_say():
    road = build_road(generator(1, 0), (352, 240))
    trucks_and_vans = np.array([kind.name in ("big_truck", "van") for kind in TYPES]) * 0.5
    traffic = Traffic(30, trucks_and_vans, Timetable(1e6, 1e5))
    parked = park(generator(1, 1), road, traffic)
    assert {p.vehicle.type.name for p in parked} == {"van"}  # the other fits into no bay
    flow = Flow(generator(1, 2), road, [], traffic, start=0, duration=5)
    assert {v.vehicle.type.name for v in flow.at(2.0)} == {"big_truck", "van"}


def test_the_bus_keeps_its_timetable(frames):
    waits = []
    for vehicles in frames.values():
        first_seen = {}
        for number, frame in enumerate(vehicles):
            for track, _, kind, *_ in frame:
                if kind == 9:
                    first_seen.setdefault(track, number)
        arrivals = [second for second in sorted(first_seen.values()) if second > 0]
        waits += np.diff(arrivals).tolist()
    assert len(waits) >= 3
    assert all(abs(wait - 20) <= 2 for wait in waits)


def test_timetable_passes_are_one_period_apart():
    assert Timetable(period=60, phase=7).passes(100, 300) == [127, 187, 247]
    assert Timetable(period=60, phase=7).passes(127, 187) == [127]


def test_vehicles_drive_in_their_direction(frames):
    moves = defaultdict(list)
    for vehicles in frames.values():
        for before, after in zip(vehicles, vehicles[1:], strict=False):
            earlier = {v[0]: v for v in before}
            for track, box, _, direction, _ in after:
                if track in earlier and earlier[track][1] != box:
                    # The lower edge only; the upper one depends on what is behind.
                    moves[direction].append(box[3] - earlier[track][1][3])
    assert np.mean(np.array(moves[1]) <= 0) > 0.95  # away from the camera is up
    assert np.mean(np.array(moves[2]) >= 0) > 0.95


def test_parked_vehicles_stay(frames):
    for vehicles in frames.values():
        boxes = defaultdict(Counter)
        for frame in vehicles:
            for track, box, *_ in frame:
                boxes[track][box] += 1
        staying = [track for track, count in boxes.items() if max(count.values()) >= 20]
        assert len(staying) >= 2


def test_previous_says_whether_the_frame_before_had_the_vehicle(frames):
    for vehicles in frames.values():
        before = set()
        for frame in vehicles:
            assert all(previous == (track in before) for track, *_, previous in frame)
            before = {v[0] for v in frame}


def test_boxes_are_tight_around_what_changes():
    """Taking one vehicle away changes the picture in its box and beside it, in its shadow."""
    road = build_road(generator(1, 0), (352, 240))
    shares = np.array([kind.share for kind in TYPES])
    traffic = Traffic(14, shares, Timetable(60, 10))
    parked = park(generator(1, 1), road, traffic)
    flow = Flow(generator(1, 2), road, parked, traffic, start=0, duration=5)
    present = flow.at(2.0)

    def draw(vehicles):
        return draw_frame(road, vehicles, hour=12, weather="Sunny", rng=generator(1, 3))

    image, seen = draw(present)
    nearest, mask = seen[-1]
    without, _ = draw([v for v in present if v is not nearest])
    changed = np.abs(image.astype(int) - without).max(axis=2) > 25
    assert (changed & mask).sum() > 0.8 * mask.sum()
    rows, columns = np.nonzero(changed)
    ys, xs = np.nonzero(mask)
    assert abs(rows.min() - ys.min()) <= 2  # no shadow above
    assert columns.min() >= xs.min() - 0.3 * np.ptp(xs) - 2
    assert columns.max() <= xs.max() + 0.3 * np.ptp(xs) + 2


def test_splits_hold_out_whole_cameras(clips):
    lists = {p.stem: p.read_text().split() for p in (clips / "train_test_separation").iterdir()}
    assert set(lists) == {"Downtown_Train", "Downtown_Test", "Parkway_Train", "Parkway_Test"}
    listed = sum(lists.values(), [])
    assert sorted(listed) == [folder.name for folder in clip_folders(clips)]
    cameras = {
        split: {clip.split("-")[0] for name, names in lists.items() for clip in names
                if name.endswith(split)}
        for split in ("Train", "Test")
    }  # fmt: skip
    assert not cameras["Train"] & cameras["Test"]
    assert len(cameras["Test"]) == 1


def test_same_seed_gives_the_same_bytes_whatever_the_workers(tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        simulate_traffic(tmp_path / name, **TINY, workers=workers)
    one, two = (
        {p.relative_to(tmp_path / n).as_posix(): p.read_bytes()
         for p in (tmp_path / n).rglob("*") if p.is_file()}
        for n in ("one", "two")
    )  # fmt: skip
    assert one == two


def test_dirt_repeats_the_faults_of_the_archive(tmp_path):
    simulate_traffic(tmp_path, **TINY, dirt=True)
    texts = [p.read_text() for p in sorted(tmp_path.glob("[0-9]*/*/*.xml"))]
    with pytest.raises(ET.ParseError):
        for text in texts:
            ET.fromstring(text)
    roots = [ET.fromstring(text.replace(" & ", " &amp; ")) for text in texts]
    ids = [int(root.findtext("frame")) for root in roots[:6]]
    assert ids == [1, 2, 2, 4, 5, 6]
    boxes = [
        {b.tag: int(b.text) for b in v.find("bndbox")} for r in roots for v in r.iter("vehicle")
    ]
    assert any(box["xmin"] < 0 for box in boxes)
    assert any(box["xmax"] > 176 for box in boxes)
    assert any(box["xmin"] > box["xmax"] for box in boxes)
    assert [p.name for p in tmp_path.glob("big*")] == ["bigbus"]
    assert list(tmp_path.glob("bigbus/bigbus-*/000001.jpg"))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("cameras", 501),
        ("days", 0),
        ("clips_per_day", 25),
        ("frames_per_clip", 0),
        ("frame_interval", 0.0),
        ("seed", -1),
        ("image_size", (352, 0)),
        ("vehicles_per_frame", 0),
        ("bus_period", 1),
        ("test_fraction", 1.0),
        ("start", "soon"),
        ("workers", 0),
    ],
)
def test_bad_arguments_are_named(tmp_path, argument, value):
    with pytest.raises(ValueError, match=argument):
        simulate_traffic(tmp_path / "out", **{argument: value})
    assert not (tmp_path / "out").exists()


def test_the_vehicles_of_a_road_come_back_on_other_days(tmp_path):
    root = tmp_path / "roads"
    settings = dict(TINY, cameras=1, days=4, fleet=4, fleet_fraction=0.3)
    simulate_traffic(root, **settings)
    (camera,) = json.loads((root / "simulation.json").read_text())["cameras"].values()
    days = defaultdict(set)
    for clip, passes in camera["fleet_passes"].items():
        assert len(set(passes.values())) == len(passes)  # each is in one place at a time
        found = {v[0]: v[2] for path in (root / "164" / clip).glob("*.xml") for v in read(path)}
        for track, place in passes.items():
            days[place].add(clip.split("-")[1])
            if int(track) in found:
                assert found[int(track)] == camera["fleet"][place]["type"]
    assert set(days) == set(range(4)) and all(len(seen) > 1 for seen in days.values())
    paints = [tuple(vehicle["paint"]) for vehicle in camera["fleet"]]
    assert len(set(paints)) == 4


def test_a_fleet_has_paints_that_are_far_apart():
    fleet = road_fleet(generator(3, 0), 8)
    hues = sorted(colorsys.rgb_to_hsv(*vehicle.paint)[0] for vehicle in fleet)
    gaps = np.diff([*hues, hues[0] + 1])
    np.testing.assert_allclose(gaps, 1 / 8, atol=1e-6)
    assert {v.type.shape for v in fleet} == {"bus", "truck", "van"}
