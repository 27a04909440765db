"""Simulated tracklets hold what re-identification is hard for, and MARS's reader reads them."""

import collections
import json

import numpy as np
import pytest
from PIL import Image

from context_rcnn.data.readers.tracklet_layouts import TrackletOptions, read_tracklets
from context_rcnn.data.tracklet_images import check_tracklets
from context_rcnn.data.tracklets import JUNK
from context_rcnn.simulation import simulate_tracklets

SMALL = {"people": 6, "test_people": 5, "frames": 12, "distractors": 3, "junk": 2, "seed": 4,
         "lookalike_fraction": 1.0}  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    return folder, simulate_tracklets(folder, image_size=(32, 64), **SMALL)


@pytest.fixture(scope="module")
def tracklets(archive):
    return read_tracklets(TrackletOptions(str(archive[0]), "mars"))


def test_the_reader_of_mars_reads_what_was_written(archive, tracklets):
    folder, summary = archive
    assert not tracklets.failures
    parts = [t for part in tracklets.parts.values() for t in part]
    assert (
        len(parts) == summary["tracklets"]
        and sum(len(t.frames) for t in parts) == (summary["frames"])
    )
    assert not list(check_tracklets(str(folder), parts))
    assert len(tracklets.query) == summary["queries"] == 5 * 3
    by_identity = collections.Counter(t.identity for t in tracklets.gallery)
    assert by_identity["0"] == 3 and by_identity[JUNK] == 2
    assert {t.identity for t in tracklets.train} == {str(n) for n in range(1, 7)}
    assert len({t.camera for t in tracklets.query if t.identity == "7"}) == 3


def test_look_alikes_differ_in_one_cue(archive):
    people = json.loads((archive[0] / "people.json").read_text())
    groups = collections.defaultdict(list)
    for person in people:
        groups[person["group"]].append(person)
    assert max(map(len, groups.values())) >= 4
    for members in groups.values():
        for name in ("shirt", "trousers", "skin", "hair", "width"):
            assert len({str(member[name]) for member in members}) == 1
        cues = {(member["cue"], str(member["cue_colour"])) for member in members}
        assert len(cues) == len(members)


def test_so_many_people_have_look_alikes(tmp_path):
    options = {"cameras": 2, "tracklets": 1, "frames": 3, "distractors": 0, "junk": 0}
    shares = []
    for fraction in (0.0, 0.5):
        simulate_tracklets(
            tmp_path,
            people=120,
            test_people=1,
            image_size=(16, 16),
            lookalike_fraction=fraction,
            **options,
        )
        people = json.loads((tmp_path / "people.json").read_text())
        sizes = collections.Counter(person["group"] for person in people)
        shares.append(sum(size for size in sizes.values() if size > 1) / len(people))
    assert shares[0] == 0 and 0.3 < shares[1] < 0.7


def test_masks_say_where_the_person_is_and_what_hides_it(archive, tracklets):
    folder, summary = archive
    shares = []
    for tracklet in [*tracklets.query, *tracklets.gallery]:
        for file in tracklet.frames:
            mask = np.asarray(Image.open(folder / "masks" / f"{file[:-4]}.png"))
            assert mask.shape == (64, 32) and set(np.unique(mask)) <= {0, 1, 2}
            if tracklet.identity == JUNK:
                assert not (mask == 1).any()
            else:
                shares.append(((mask == 1).mean(), (mask == 2).mean()))
    seen, hidden = np.array(shares).T
    assert 0.1 < (hidden > 0.1).mean() < 0.7 and seen.max() < 0.8 and np.median(seen) > 0.1
    assert set(summary["frames_by_kind"]) >= {"clear", "occluded", "lost"}


def test_who_crosses_wears_the_clothes_of_another_who_is_asked_for(tmp_path):
    options = {"cameras": 2, "tracklets": 2, "frames": 8, "distractors": 0, "junk": 0, "seed": 2}
    simulate_tracklets(
        tmp_path,
        people=1,
        test_people=2,
        lookalike_fraction=0.0,
        occluded_fraction=1.0,
        crossing_fraction=1.0,
        mostly_hidden_fraction=1.0,
        **options,
    )
    people = json.loads((tmp_path / "people.json").read_text())
    clothes = {p["identity"]: np.array([p["shirt"], p["trousers"]], float) for p in people}
    votes = collections.Counter()
    for tracklet in read_tracklets(TrackletOptions(str(tmp_path), "mars")).gallery:
        (other,) = {"2", "3"} - {tracklet.identity}
        for file in tracklet.frames:
            pixels = np.asarray(Image.open(tmp_path / file), float)
            mask = np.asarray(Image.open(tmp_path / "masks" / f"{file[:-4]}.png"))
            before = pixels[mask == 2]
            of_own, of_other = (
                np.linalg.norm(before[:, None] - clothes[who], axis=-1).min(axis=1)
                for who in (tracklet.identity, other)
            )
            votes["own"] += int((of_own < of_other).sum())
            votes["other"] += int((of_other < of_own).sum())
    assert votes["other"] > 2 * votes["own"]


def test_equal_seeds_give_equal_bytes_with_any_number_of_workers(archive, tmp_path):
    folder, _ = archive
    simulate_tracklets(tmp_path, image_size=(32, 64), workers=2, **SMALL)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    for file in files:
        assert (folder / file).read_bytes() == (tmp_path / file).read_bytes(), file


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"people": 0}, "people must be an integer of at least 1"),
        ({"people": 8950}, "people must be 9000 at most, with test_people"),
        ({"cameras": 1}, "cameras must be in 2..9"),
        ({"occluded_fraction": 2.0}, "occluded_fraction must be in 0..1"),
        ({"image_size": (8, 8)}, "image_size must be"),
    ],
)
def test_arguments_that_do_not_fit_are_named(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        simulate_tracklets(tmp_path, **wrong)
