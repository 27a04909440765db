"""The settings of the simulators. `context-rcnn simulate KIND --help` shows the same texts."""

from __future__ import annotations

from dataclasses import dataclass

from context_rcnn.simulation.arguments import (
    check,
    check_image_size,
    check_range,
    check_shares,
    check_whole,
    first_day,
    image_size,
    names,
    numbers,
    setting,
    whole_range,
)
from context_rcnn.simulation.species import BY_NAME, WORLDS

MAX_BURST = 10
MAX_ROADS = 500
MAX_PEOPLE = 9000  # numbers of four digits, with room for those who are nobody
VIDEO_SPECIES = 10
SCALES = ("flicker", "short", "long")


@dataclass(frozen=True)
class CameraTrapSettings:
    """What `simulate_camera_traps` simulates; each field has its help text."""

    seed: int = setting(0, "seed of all random choices")
    image_size: tuple[int, int] = setting(
        (160, 120), "size of the photographs, WIDTHxHEIGHT", image_size
    )
    cameras: int = setting(12, "number of cameras, each at a place of its own")
    days: int = setting(60, "length of the study")
    triggers_per_day: float = setting(
        4.0, "number of bursts per camera and day; the frames of a burst are a second apart"
    )
    empty_fraction: float = setting(0.7, "share of bursts triggered by wind, not by an animal")
    species: int = setting(8, "number of species, the most common of the world first")
    world: str = setting(
        "home",
        "set of species: `home`, or `elsewhere`, which shares none with `home`; an extractor "
        "trained on `elsewhere` has seen many animals, but none of those at home",
    )
    max_burst: int = setting(
        MAX_BURST, "length of the longest burst, in frames; with 1, each frame is another visit"
    )
    clear_visits: float = setting(
        0.57,
        "share of visits in which animals show their coats; in the others they are far away, in "
        "the dark, blurred, camouflaged, or only partly in the picture",
    )
    clear_in_burst: float = setting(
        0.0,
        "probability that an animal shows its coat after all in a frame of a dark, blurred or "
        "camouflaged visit, drawn for each animal and frame; above 0, the neighbours of a frame "
        "and the other animals of a herd help, at 0 only other visits do",
    )
    herd: float = setting(
        1.0, "factor for the size of herds, which have 1 to 2.2 animals on average"
    )
    val_fraction: float = setting(0.25, "share of the cameras held out for validation, rounded up")
    pretrain_fraction: float = setting(
        0.0,
        "share of the training cameras that go to a split `pretrain`, for an extractor that must "
        "not have seen the other cameras",
    )
    start: str = setting("2019-05-01", "first day, in ISO format")
    images_per_folder: int = setting(
        500, "number of files after which a camera opens its next overflow folder"
    )

    def __post_init__(self) -> None:
        check_whole(self, 0, "seed")
        check_image_size(self.image_size)
        check_whole(self, 1, "cameras", "days")
        check("triggers_per_day", self.triggers_per_day, 0 < self.triggers_per_day <= 500,
              "in (0, 500]")  # fmt: skip
        check_shares(self, "empty_fraction", "clear_visits", "clear_in_burst")
        check("world", self.world, self.world in WORLDS, f"one of {', '.join(WORLDS)}")
        number = len(WORLDS[self.world])
        check("species", self.species, self.species in range(1, number + 1), f"in 1..{number}")
        longest = self.max_burst in range(1, MAX_BURST + 1)
        check("max_burst", self.max_burst, longest, f"in 1..{MAX_BURST}")
        check("herd", self.herd, 0 < self.herd <= 5, "in (0, 5]")
        for name in ("val_fraction", "pretrain_fraction"):
            value = getattr(self, name)
            check(name, value, 0 <= value < 1, "in [0, 1)")
        files = self.images_per_folder
        check("images_per_folder", files, 1 <= files <= 9999, "in 1..9999")
        first_day(self.start)


@dataclass(frozen=True)
class TrafficSettings:
    """What `simulate_traffic` simulates; each field has its help text."""

    seed: int = setting(0, "seed of all random choices")
    image_size: tuple[int, int] = setting(
        (352, 240), "size of the frames, WIDTHxHEIGHT", image_size
    )
    cameras: int = setting(8, "number of cameras, each above a road of its own")
    days: int = setting(3, "number of days on which clips are taken")
    clips_per_day: int = setting(4, "number of clips per camera and day, each in another hour")
    frames_per_clip: int = setting(30, "number of frames in a clip")
    frame_interval: float = setting(1.0, "seconds between two frames")
    vehicles_per_frame: float = setting(14.0, "average number of annotated vehicles")
    bus_period: float = setting(180.0, "seconds between two passes of the road's line bus")
    fleet: int = setting(
        8,
        "number of buses, trucks and vans that belong to a road, each with a paint of its own that "
        "no other vehicle has; simulation.json says which of them passed when",
    )
    fleet_fraction: float = setting(
        0.0,
        "share of the moving traffic that is of the road's fleet: the same vehicles pass again "
        "days later; 0 for a road on which nobody returns",
    )
    test_fraction: float = setting(0.25, "share of the cameras listed for testing, rounded up")
    start: str = setting("2016-05-02", "first day, in ISO format")
    dirt: bool = setting(
        False,
        "whether to imitate the known faults of the published archive, `big*` folder included",
    )

    def __post_init__(self) -> None:
        check_whole(self, 0, "seed")
        check_image_size(self.image_size, smallest=96)
        check("cameras", self.cameras, self.cameras in range(1, MAX_ROADS + 1),
              f"an integer in 1..{MAX_ROADS}")  # fmt: skip
        check_whole(self, 1, "days", "fleet")
        clips, frames = self.clips_per_day, self.frames_per_clip
        check("clips_per_day", clips, clips in range(1, 25), "an integer in 1..24")
        check("frames_per_clip", frames, frames in range(1, 10**6), "at least 1")
        check("frame_interval", self.frame_interval, self.frame_interval > 0, "above 0")
        check("frames_per_clip", frames, self.clip_seconds <= 3600, "few enough to fit an hour")
        vehicles = self.vehicles_per_frame
        check("vehicles_per_frame", vehicles, 1 <= vehicles <= 30, "in 1..30")
        check("bus_period", self.bus_period, self.bus_period >= 15, "at least 15 seconds")
        check_shares(self, "fleet_fraction")
        check("test_fraction", self.test_fraction, 0 <= self.test_fraction < 1, "in [0, 1)")
        first_day(self.start)

    @property
    def clip_seconds(self) -> float:
        return self.frames_per_clip * self.frame_interval


@dataclass(frozen=True)
class VideoSettings:
    """What `simulate_videos` simulates; each field has its help text.

    Speeds are in cells of a feature map, of `cell` pixels, per frame.
    """

    seed: int = setting(0, "seed of all random choices")
    image_size: tuple[int, int] = setting(
        (256, 192), "size of the frames, WIDTHxHEIGHT", image_size
    )
    videos: int = setting(40, "number of videos, each of a place of its own")
    frames: int | tuple[int, int] = setting(
        (40, 60), "number of frames in a video, or a range to draw it from, such as 40-300",
        whole_range,
    )  # fmt: skip
    val_fraction: float = setting(0.25, "share of the videos held out for validation, rounded up")
    species: int = setting(
        8,
        "number of species, in pairs of look-alikes: zebra and wild ass, leopard and puma, "
        "fallow deer and red deer, bear and buffalo; then hare and crane, which are like no other",
    )
    animals: int = setting(3, "largest number of animals in a video")
    crossing_fraction: float = setting(
        0.3, "share of the videos in which two look-alikes walk towards each other and cross"
    )
    one_species: float = setting(
        0.0,
        "share of the other videos whose animals are all of one species, as those of a herd; in "
        "the rest each one is of any",
    )
    # What of an animal can be seen, and for how long.
    clear_fraction: float = setting(
        0.35,
        "share of the time in which an animal shows what tells it from its look-alike; a memory "
        "has nothing to add at 1, and nothing to remember at 0",
    )
    scales: tuple[str, ...] = setting(
        (*SCALES, "mixed"),
        "time scales of hiding, of which each animal draws one: flicker, short, long, or mixed, "
        "which draws anew each time it hides; a memory helps only if it reaches as far as they do",
        names,
    )
    flicker: tuple[int, int] = setting((1, 2), "frames for which a flicker hides", whole_range)
    short: tuple[int, int] = setting((4, 8), "frames of a short hiding", whole_range)
    long: tuple[int, int] = setting((12, 24), "frames of a long hiding", whole_range)
    never_fraction: float = setting(
        0.1, "share of the animals that never show themselves, so that no memory can help"
    )
    never_shown: tuple[str, ...] = setting(
        ("fallow_deer", "red_deer"),
        "species that never show themselves: a detector that gains on them gains by something "
        "else than its memory",
        names,
    )
    rare_poses: tuple[str, ...] = setting(
        ("bear", "buffalo"),
        "species that hide by a pose: they stand head-on, where the two are alike, and show their "
        "side for half of --clear_fraction only",
        names,
    )
    outline_hidden: float = setting(
        0.3,
        "share of hidings in which the outline goes too (faint or out of focus), so that a memory "
        "also helps to find the box; in the others only the coat is hidden",
    )
    hard_ends: int = setting(
        0, "number of frames at each end of a video in which no animal shows itself"
    )
    blur_fraction: float = setting(
        0.1, "share of the time in which the whole picture is out of focus or overexposed"
    )
    occluders: int = setting(
        1, "number of tall bushes close to the camera, per picture width; animals walk behind them"
    )
    # How things move.
    cell: float = setting(
        16.0,
        "pixels of a frame that one cell of a feature map covers, the unit of all speeds: the "
        "stride of the backbone where the detector sees frames at their own size, less where it "
        "enlarges them",
    )
    pan: float = setting(
        1.5, "largest speed of a panning camera in cells per frame; each video draws its own"
    )
    jitter: float = setting(
        1.25,
        "largest shift of a shaken camera from one frame to the next in cells, in each direction; "
        "each video draws its own",
    )
    still_fraction: float = setting(0.25, "share of the videos whose camera does not move at all")
    slowest: float = setting(0.2, "speed of the slowest moving animal in cells per frame")
    fastest: float = setting(
        2.0, "speed of the fastest animal in cells per frame; speeds are drawn evenly in logarithm"
    )
    static_fraction: float = setting(0.25, "share of the animals that stand still")
    # What is written besides.
    flow_distances: tuple[int, ...] = setting(
        (),
        "distances in frames at which the optical flow is written, such as 1,4,8; negative ones "
        "lead backwards",
        numbers,
    )

    def __post_init__(self) -> None:
        check_whole(self, 0, "seed", "hard_ends", "occluders")
        check_image_size(self.image_size)
        check_whole(self, 1, "videos")
        first, last = self.lengths
        valid = isinstance(first, int) and isinstance(last, int) and 2 <= first <= last <= 10_000
        check("frames", self.frames, valid, "a number or a range within 2..10000")
        number = VIDEO_SPECIES
        check("species", self.species, self.species in range(1, number + 1), f"in 1..{number}")
        check("animals", self.animals, self.animals in range(1, 9), "in 1..8")
        check_shares(self, "crossing_fraction", "one_species", "clear_fraction", "never_fraction",
                     "outline_hidden", "blur_fraction", "still_fraction",
                     "static_fraction")  # fmt: skip
        check("val_fraction", self.val_fraction, 0 <= self.val_fraction < 1, "in [0, 1)")
        known = set(self.scales) <= {*SCALES, "mixed"} and bool(self.scales)
        check("scales", self.scales, known, f"some of {', '.join(SCALES)}, mixed")
        check_range(self, 1, 10_000, *SCALES)
        for name in ("never_shown", "rare_poses"):
            value = getattr(self, name)
            check(name, value, set(value) <= set(BY_NAME), "names of species")
        check("cell", self.cell, 1 <= self.cell <= min(self.image_size), "in 1..the frame's side")
        for name in ("pan", "jitter"):
            value = getattr(self, name)
            check(name, value, 0 <= value <= 4, "in 0..4 cells")
        check("slowest", self.slowest, 0 < self.slowest <= self.fastest, "in (0, fastest]")
        check("fastest", self.fastest, self.fastest <= 8, "at most 8 cells")
        distances = all(self.flow_distances)
        check("flow_distances", self.flow_distances, distances, "numbers other than 0")

    @property
    def lengths(self) -> tuple[int, int]:
        """The fewest and the most frames of a video."""
        return (self.frames, self.frames) if isinstance(self.frames, int) else self.frames


@dataclass(frozen=True)
class TrackletSettings:
    """What `simulate_tracklets` simulates; each field has its help text."""

    seed: int = setting(0, "seed of all random choices")
    image_size: tuple[int, int] = setting((64, 128), "size of the frames, WIDTHxHEIGHT", image_size)
    people: int = setting(300, "number of people to learn from")
    test_people: int = setting(100, "number of people to find again")
    cameras: int = setting(3, "number of cameras, each with its own light")
    tracklets: int = setting(2, "number of tracklets of a person by a camera")
    frames: int = setting(
        30,
        "average number of frames in a tracklet; the shortest has .4 of it, the longest 1.6 times "
        "as many, and one in twenty tracklets is shorter than a clip",
    )
    distractors: int = setting(30, "number of tracklets of people who are not asked for")
    junk: int = setting(15, "number of tracklets of no person")
    lookalike_fraction: float = setting(
        0.5,
        "share of people in groups of four to six who share all but one cue; the others have "
        "clothes of their own, so that only what hides them makes them hard to find",
    )
    occluded_fraction: float = setting(
        0.7, "share of tracklets in which an occluder stands before the person"
    )
    crossing_fraction: float = setting(
        0.5,
        "share of occluders that are another person, who is searched for too; the others are "
        "pillars and bushes",
    )
    mostly_hidden_fraction: float = setting(
        0.25, "share of occluders that hide the person in more than half of the frames"
    )

    def __post_init__(self) -> None:
        check_whole(self, 0, "seed", "distractors", "junk")
        check_image_size(self.image_size, smallest=16)
        check_whole(self, 1, "people", "test_people")
        both = self.people + self.test_people
        check("people", self.people, both <= MAX_PEOPLE, f"{MAX_PEOPLE} at most, with test_people")
        check("cameras", self.cameras, self.cameras in range(2, 10), "in 2..9")
        check("tracklets", self.tracklets, self.tracklets in range(1, 100), "in 1..99")
        check("frames", self.frames, self.frames in range(3, 501), "in 3..500")
        check_shares(self, "lookalike_fraction", "occluded_fraction")
        check_shares(self, "crossing_fraction", "mostly_hidden_fraction")


@dataclass(frozen=True)
class FlowPairSettings(VideoSettings):
    """What `simulate_flow_pairs` simulates: pairs of frames of such videos, with their flow."""

    videos: int = setting(200, "number of videos that pairs are taken from")
    frames: int | tuple[int, int] = setting(
        (20, 30), "number of frames in a video, or a range to draw it from, such as 40-300",
        whole_range,
    )  # fmt: skip
    flow_distances: tuple[int, ...] = setting(
        (-1, -4, -8),
        "distances in frames from the first image of a pair to the second; pairs of each distance "
        "are equally many",
        numbers,
    )
    pairs: int = setting(12, "number of pairs of each video")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, 1, "pairs")
        known = bool(self.flow_distances)
        check("flow_distances", self.flow_distances, known, "at least one number")
        longest = max(map(abs, self.flow_distances))
        fits = longest < self.lengths[0]
        check("flow_distances", self.flow_distances, fits, f"shorter than {self.lengths[0]} frames")
