"""What `simulate_camera_traps` writes."""

import datetime
import json
from collections import Counter, defaultdict

import pytest
from PIL import Image

from context_rcnn.data.archive import ArchiveOptions, read_archive
from context_rcnn.simulation import simulate_camera_traps

TINY = dict(cameras=3, days=2, seed=11, triggers_per_day=3, image_size=(96, 72))


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_same_seed_gives_the_same_bytes_whatever_the_workers(tmp_path):
    simulate_camera_traps(tmp_path / "one", **TINY)
    simulate_camera_traps(tmp_path / "two", **TINY, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_another_seed_gives_other_photographs(tmp_path):
    simulate_camera_traps(tmp_path / "one", **TINY)
    simulate_camera_traps(tmp_path / "two", **{**TINY, "seed": 12})
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    shared = [name for name in one.keys() & two.keys() if name.endswith(".JPG")]
    assert shared and all(one[name] != two[name] for name in shared)


def test_labels_are_valid_coco_camera_traps(study):
    labels = study.labels
    assert isinstance(labels["info"]["version"], str) and labels["info"]["description"]
    assert labels["categories"][0] == {"id": 0, "name": "empty"}
    image_ids = [image["id"] for image in labels["images"]]
    annotation_ids = [annotation["id"] for annotation in labels["annotations"]]
    assert all(isinstance(i, str) for i in image_ids + annotation_ids)
    assert len(set(image_ids)) == len(image_ids)
    assert len(set(annotation_ids)) == len(annotation_ids)
    category_ids = {category["id"] for category in labels["categories"]}
    assert {a["image_id"] for a in labels["annotations"]} == set(image_ids)
    assert {a["category_id"] for a in labels["annotations"]} <= category_ids


def test_every_file_is_labelled_and_opens_with_its_size(study):
    files = {p.relative_to(study.root / "images").as_posix() for p in study.root.rglob("*.JPG")}
    assert files == {image["file_name"] for image in study.labels["images"]}
    for image in study.labels["images"][::25]:
        with Image.open(study.root / "images" / image["file_name"]) as photo:
            assert photo.size == (image["width"], image["height"]) == (160, 120)


def test_exif_times_equal_the_labels(study):
    for image in study.labels["images"][::25]:
        with Image.open(study.root / "images" / image["file_name"]) as photo:
            exif = photo.getexif()
        time = datetime.datetime.strptime(image["datetime"], "%Y-%m-%d %H:%M:%S")
        stamp = time.strftime("%Y:%m:%d %H:%M:%S")
        assert exif.get_ifd(0x8769)[0x9003] == exif[0x0132] == stamp
        assert exif[0x010F] and exif[0x0110]


def test_bursts_have_one_to_ten_frames_a_second_apart(study):
    bursts = defaultdict(list)
    for image in study.labels["images"]:
        bursts[image["seq_id"]].append(image)
    for burst in bursts.values():
        assert [image["frame_num"] for image in burst] == list(range(len(burst)))
        assert {image["seq_num_frames"] for image in burst} == {len(burst)}
        times = [datetime.datetime.fromisoformat(image["datetime"]) for image in burst]
        assert {(b - a).total_seconds() for a, b in zip(times, times[1:], strict=False)} <= {1.0}
    sizes = Counter(len(burst) for burst in bursts.values())
    assert min(sizes) == 1 and max(sizes) == 10


def test_bursts_of_a_camera_do_not_overlap(study):
    times = defaultdict(list)
    for image in study.labels["images"]:
        times[image["location"]].append(image["datetime"])
    assert all(t == sorted(set(t)) for t in times.values())


def test_overflow_folders_count_their_files_from_one_again(study):
    names = {image["file_name"] for image in study.labels["images"]}
    assert {"cam_00/100RECNX/IMG_0001.JPG", "cam_00/101RECNX/IMG_0001.JPG"} <= names
    per_folder = Counter(name.rsplit("/", 1)[0] for name in names)
    overflowing = {f: n for f, n in per_folder.items() if "RECNX" in f}
    assert max(overflowing.values()) == 60
    assert "cam_02/IMG_00061.JPG" in names  # cameras of another make keep one folder


def test_empty_triggers_have_the_asked_share(study):
    boxes = study.boxes()
    empty = {}
    for image in study.labels["images"]:
        empty[image["seq_id"]] = empty.get(image["seq_id"], True) and not boxes[image["id"]]
    assert sum(empty.values()) / len(empty) == pytest.approx(0.7, abs=0.01)
    assert study.summary["empty_triggers"] == sum(empty.values())


def test_images_without_boxes_are_labelled_empty_once(study):
    by_image = defaultdict(list)
    for annotation in study.labels["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    for annotations in by_image.values():
        if any(a["category_id"] == 0 for a in annotations):
            assert len(annotations) == 1 and "bbox" not in annotations[0]
        else:
            assert all("bbox" in a for a in annotations)


def test_about_two_of_five_boxes_are_ambiguous(study):
    boxes = [box for found in study.boxes().values() for box in found]
    share = sum(box["ambiguous"] for box in boxes) / len(boxes)
    assert 0.33 < share < 0.50
    assert {box["difficulty"] for box in boxes if not box["ambiguous"]} <= {"clear", "partial"}
    hard = {box["difficulty"] for box in boxes if box["ambiguous"]}
    assert hard == {"far", "night", "blur", "camouflage", "cropped"}


def test_clear_animals_are_large_and_far_ones_small_but_visible(study):
    sizes = defaultdict(list)
    for found in study.boxes().values():
        for box in found:
            sizes[box["difficulty"]].append(max(box["bbox"][2:]))
    assert sum(25 <= side <= 85 for side in sizes["clear"]) > 0.97 * len(sizes["clear"])
    assert max(sizes["far"]) < 25 and min(sizes["far"]) >= 8


def test_splits_cover_the_cameras_once(study):
    splits = json.loads((study.root / "splits.json").read_text())["splits"]
    locations = {image["location"] for image in study.labels["images"]}
    assert sorted(splits["train"] + splits["val"]) == sorted(locations)
    assert len(splits["val"]) == 2


def test_cameras_to_pretrain_on_come_out_of_the_training_split(tmp_path):
    options = {**TINY, "cameras": 9, "days": 1, "triggers_per_day": 1.0, "seed": 4}
    splits = {}
    for fraction in (0.0, 0.5):
        folder = tmp_path / str(fraction)
        simulate_camera_traps(folder, pretrain_fraction=fraction, **options)
        splits[fraction] = json.loads((folder / "splits.json").read_text())["splits"]
    assert set(splits[0.0]) == {"train", "val"}
    assert splits[0.5]["val"] == splits[0.0]["val"]
    assert sorted(splits[0.5]["pretrain"] + splits[0.5]["train"]) == sorted(splits[0.0]["train"])
    assert len(splits[0.5]["pretrain"]) == len(splits[0.0]["train"]) // 2


def test_classes_of_validation_are_seen_in_training(study):
    splits = json.loads((study.root / "splits.json").read_text())["splits"]
    location = {image["id"]: image["location"] for image in study.labels["images"]}
    seen = defaultdict(set)
    for annotation in study.labels["annotations"]:
        split = "val" if location[annotation["image_id"]] in splits["val"] else "train"
        seen[split].add(annotation["category_id"])
    assert len(seen["val"]) > 3
    assert seen["val"] <= seen["train"]
    assert len(seen["train"]) == 9  # all species, and empty


def test_classes_have_a_long_tail(study):
    counts = sorted(study.summary["boxes_per_class"].values())
    assert counts[-1] > 4 * counts[0] > 0
    assert sum(counts[-2:]) > 0.4 * sum(counts)


def test_cameras_are_the_home_of_one_look_alike(study):
    names = {c["id"]: c["name"] for c in study.labels["categories"]}
    location = {image["id"]: image["location"] for image in study.labels["images"]}
    counts = defaultdict(Counter)
    for image_id, found in study.boxes().items():
        counts[location[image_id]].update(names[box["category_id"]] for box in found)
    homes = defaultdict(set)
    for pair in study.truth["lookalikes"]:
        for count in counts.values():
            both = [count[name] for name in pair]
            if sum(both) >= 20:
                assert max(both) >= 0.75 * sum(both)
                homes[tuple(pair)].add(pair[both.index(max(both))])
    assert homes[("wild_ass", "zebra")] == {"wild_ass", "zebra"}


def test_distractors_are_not_labelled(study):
    names = {c["name"]: c["id"] for c in study.labels["categories"]}
    location = {image["id"]: image["location"] for image in study.labels["images"]}
    labelled = {(location[a["image_id"]], a["category_id"]) for a in study.labels["annotations"]}
    cameras = study.truth["cameras"]
    fakes = {(c, names[d["looks_like"]]) for c, t in cameras.items() for d in t["distractors"]}
    assert not labelled & fakes
    assert sum(bool(truth["distractors"]) for truth in cameras.values()) >= len(cameras) / 2
    assert len({species for _, species in fakes}) >= 3


def test_summary_counts_what_is_written(study):
    boxes = [a for a in study.labels["annotations"] if "bbox" in a]
    assert study.summary["frames"] == len(study.labels["images"])
    assert study.summary["boxes"] == len(boxes) == sum(study.summary["boxes_per_class"].values())
    assert study.summary["empty_frames"] == len(study.labels["annotations"]) - len(boxes)


def test_progress_ends_at_the_number_of_frames(tmp_path):
    calls = []
    summary = simulate_camera_traps(tmp_path, **TINY, progress=lambda *call: calls.append(call))
    assert [camera for camera, _, _ in calls] == ["cam_00", "cam_01", "cam_02"]
    assert calls[-1][1:] == (summary["frames"], summary["frames"])


def test_a_foreign_folder_is_refused_and_kept(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        simulate_camera_traps(tmp_path, **TINY)
    simulate_camera_traps(tmp_path, **TINY, overwrite=True)
    assert (tmp_path / "holiday.txt").read_text() == "mine"


def test_photographs_of_others_are_never_deleted(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.JPG").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="images"):
        simulate_camera_traps(tmp_path, **TINY, overwrite=True)
    assert (tmp_path / "images" / "mine.JPG").read_bytes() == b"mine"


def test_an_earlier_simulation_is_replaced(tmp_path):
    simulate_camera_traps(tmp_path, **TINY)
    simulate_camera_traps(tmp_path, **{**TINY, "cameras": 1})
    assert [p.name for p in (tmp_path / "images").iterdir()] == ["cam_00"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("cameras", 0),
        ("days", 0),
        ("seed", -1),
        ("image_size", (160,)),
        ("image_size", (16, 16)),
        ("triggers_per_day", 0),
        ("empty_fraction", 1.5),
        ("species", 99),
        ("workers", 0),
        ("val_fraction", 1.0),
        ("start", "yesterday"),
        ("images_per_folder", 0),
    ],
)
def test_bad_arguments_are_named(tmp_path, argument, value):
    with pytest.raises(ValueError, match=argument):
        simulate_camera_traps(tmp_path / "out", **{argument: value})
    assert not (tmp_path / "out").exists()


def test_boxes_say_what_they_show_to_our_reader_too(study):
    archive = read_archive(
        ArchiveOptions(
            input_json=str(study.root / "camera_traps.json"), image_root=str(study.root / "images")
        )
    )
    records = [record for members in archive.records.values() for record in members]
    looks = Counter(box.seen.look for record in records for box in record.boxes)
    assert looks == study.summary["boxes_per_difficulty"]
    assert all(
        box.seen.shows == (box.seen.look == "clear") for record in records for box in record.boxes
    )
