"""Who lives where and when it passes: the plan of a camera network and each camera's triggers.

Of every look-alike pair a camera has one species at home, and the other is a rare stray. So a
picture that leaves the pair open is settled by other pictures of the same camera, and by nothing
else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from context_rcnn.simulation.canvas import generator
from context_rcnn.simulation.light import SUNRISE, SUNSET
from context_rcnn.simulation.scenes import Mount
from context_rcnn.simulation.settings import MAX_BURST, CameraTrapSettings
from context_rcnn.simulation.species import BY_NAME, WORLDS, lookalike

# How hard a visit is to recognise, and how often that happens. All but "clear" are ambiguous.
DIFFICULTIES = {
    "clear": 0.57,
    "far": 0.13,
    "night": 0.09,
    "blur": 0.06,
    "camouflage": 0.10,
    "cropped": 0.05,
}
STRAY_RATE = 0.04

_BURSTS = np.array([0.14, 0.10, 0.24, 0.12, 0.14, 0.07, 0.05, 0.04, 0.03, 0.07])
_QUIET_SECONDS = 30  # between the end of a burst and the next trigger
_NETWORK, _MIX, _SCHEDULE = 0, 1, 2  # purposes of random streams
_DAY = 24 * 3600


@dataclass(frozen=True)
class Resident:
    """A species at home at a camera: how often it comes and the trail it takes.

    Attributes:
      species: name of the species.
      weight: relative frequency of its visits.
      lengths: how long a passing animal appears at the left and the right end of its trail, as a
        fraction of the frame's width; this fixes where on the ground the trail runs.
      hour: the hour it prefers here.
    """

    species: str
    weight: float
    lengths: tuple[float, float]
    hour: float


@dataclass(frozen=True)
class Visit:
    """A group of one species that walks by."""

    species: str
    trail: tuple[float, float]  # see Resident.lengths
    count: int
    difficulty: str
    direction: int  # 1 walks to the right, -1 to the left


@dataclass(frozen=True)
class Trigger:
    """The motion sensor fires: a burst of frames one second apart.

    Attributes:
      index: place in the camera's life.
      second: time of the first frame in seconds after the start of the study.
      frames: 1..MAX_BURST.
      visit: the animals that fired it; None if it was wind.
    """

    index: int
    second: int
    frames: int
    visit: Visit | None


@dataclass(frozen=True)
class CameraPlan:
    """What is settled about a camera before anything is drawn."""

    index: int
    name: str
    split: str
    residents: tuple[Resident, ...]
    strays: dict[str, str]  # resident -> look-alike that sometimes comes in its place
    fakes: tuple[str, ...]  # species its still distractors look like
    triggers: int
    visits: int
    bumps: tuple[tuple[int, Mount], ...]  # (second, how it hangs since then, in frame widths)
    max_burst: int = MAX_BURST  # frames of a burst at most
    clear_visits: float = DIFFICULTIES["clear"]
    clear_in_burst: float = 0.0  # see CameraTrapSettings
    herd: float = 1.0


def species_names(count: int, world: str = "home") -> tuple[str, ...]:
    """The `count` most common species of a world."""
    return tuple(species.name for species in WORLDS[world][:count])


def plan_network(settings: CameraTrapSettings) -> list[CameraPlan]:
    """Plans all cameras.

    Every species at home at a validation camera is at home at a training camera too, and within
    each split the homes of a look-alike pair alternate between its two species.
    """
    seed, cameras, days = settings.seed, settings.cameras, settings.days
    rng = generator(seed, _NETWORK)
    names = species_names(settings.species, settings.world)
    splits = _draw_splits(rng, cameras, settings.val_fraction)
    activity = rng.uniform(0.8, 1.2, cameras)
    triggers = np.maximum(np.rint(activity * settings.triggers_per_day * days), 1).astype(int)
    visits = np.rint(triggers * (1 - settings.empty_fraction)).astype(int)
    homes = _draw_homes(rng, names, splits, visits)
    at_home_in_training = {n for split, home in zip(splits, homes, strict=True)
                           if split == "train" for n in home}  # fmt: skip
    fakes = _draw_fakes(rng, names, homes)
    digits = max(2, len(str(cameras - 1)))
    plans = []
    for index, split in enumerate(splits):
        home = tuple(n for n in homes[index] if n in at_home_in_training)
        strays = {n: lookalike(n, names) for n in home}
        plans.append(
            CameraPlan(
                index=index,
                name=f"cam_{index:0{digits}d}",
                split=split,
                residents=_settle(generator(seed, _MIX, index), names, home),
                strays={n: s for n, s in strays.items() if s in at_home_in_training},
                fakes=fakes[index],
                triggers=int(triggers[index]),
                visits=int(visits[index]) if home else 0,
                bumps=_draw_bumps(generator(seed, _MIX, index, 1), days),
                max_burst=settings.max_burst,
                clear_visits=settings.clear_visits,
                clear_in_burst=settings.clear_in_burst,
                herd=settings.herd,
            )
        )
    return plans


def _draw_splits(rng: np.random.Generator, cameras: int, val_fraction: float) -> list[str]:
    held_out = min(math.ceil(val_fraction * cameras - 1e-9), cameras - 1)
    chosen = set(rng.permutation(cameras)[:held_out].tolist())
    return ["val" if index in chosen else "train" for index in range(cameras)]


def _draw_homes(
    rng: np.random.Generator, names: Sequence[str], splits: Sequence[str], visits: np.ndarray
) -> list[list[str]]:
    """Chooses the species of each camera, the most common first."""
    kinds = list(dict.fromkeys(BY_NAME[name].kind for name in names))
    homes: list[list[str]] = [[] for _ in splits]
    for rank, kind in enumerate(kinds):
        members = [name for name in names if BY_NAME[name].kind == kind]
        share = 0.75 - 0.35 * rank / max(len(kinds) - 1, 1)
        for split in ("train", "val"):
            cameras = [i for i, s in enumerate(splits) if s == split]
            wanted = max(round(share * len(cameras)), len(members))
            order = sorted(rng.permutation(cameras).tolist(), key=lambda i: len(homes[i]))
            first = int(rng.integers(2)) if len(cameras) > 1 else 0
            for place, camera in enumerate(order[:wanted]):
                homes[camera].append(members[(place + first) % len(members)])
    # Each resident must come at least once, so a camera cannot have more residents than visits.
    return [home[: int(n)] for home, n in zip(homes, visits, strict=True)]


def _draw_fakes(
    rng: np.random.Generator, names: Sequence[str], homes: Sequence[Sequence[str]]
) -> list[tuple[str, ...]]:
    """Gives two of three cameras 1 to 3 distractors; neighbours get different species.

    They look like kinds that do not live there, so that what a camera remembers of them says
    nothing about its look-alikes.
    """
    fakes: list[tuple[str, ...]] = []
    shift = int(rng.integers(len(names)))
    for index, home in enumerate(homes):
        if index % 3 == 2:
            fakes.append(())
            continue
        kinds = {BY_NAME[name].kind for name in home}
        foreign = [n for n in names if BY_NAME[n].kind not in kinds] or list(names)
        turn = (shift + 2 * index) % len(foreign)
        count = min(int(rng.choice((1, 2, 3), p=(0.5, 0.35, 0.15))), len(foreign))
        fakes.append(tuple((foreign[turn:] + foreign[:turn])[:count]))
    return fakes


def _settle(
    rng: np.random.Generator, names: Sequence[str], home: Sequence[str]
) -> tuple[Resident, ...]:
    residents = []
    for name in home:
        middle = rng.uniform(0.22, 0.33)
        first, last = (float(length) for length in middle + rng.uniform(-0.03, 0.03, 2))
        hour = BY_NAME[name].hour[0] + rng.normal(0, 0.8)
        zipf = 1 / (1 + names.index(name))
        residents.append(Resident(name, zipf, (first, last), float(hour)))
    return tuple(residents)


def _draw_bumps(rng: np.random.Generator, days: int) -> tuple[tuple[int, Mount], ...]:
    count = int(rng.choice((0, 1, 2), p=(0.35, 0.5, 0.15)))
    seconds = sorted(rng.uniform(0.2, 0.85, count) * days * _DAY)
    bumps = []
    for second in seconds:
        angle = rng.choice((-1, 1)) * rng.uniform(0.4, 1.3)
        dx, dy = rng.choice((-1, 1), 2) * rng.uniform(0.012, 0.03, 2)
        bumps.append((int(second), Mount(float(angle), float(dx), float(dy))))
    return tuple(bumps)


def schedule(seed: int, plan: CameraPlan, days: int) -> list[Trigger]:
    """Draws a camera's triggers in order of time."""
    rng = generator(seed, _SCHEDULE, plan.index)
    events: list[tuple[int, Visit | None]] = []
    # The first visits show every resident once, clearly.
    for number, difficulty in enumerate(_draw_difficulties(rng, plan)):
        resident = plan.residents[number] if number < len(plan.residents) else None
        drawn, hour = _draw_visit(rng, plan, difficulty, resident)
        events.append((_second(rng, days, hour), drawn))
    for _ in range(plan.triggers - plan.visits):
        windy = rng.normal(14.0, 4.5) if rng.random() < 0.75 else rng.uniform(0, 24)
        events.append((_second(rng, days, windy), None))
    events.sort(key=lambda event: event[0])
    triggers: list[Trigger] = []
    free = 0
    for index, (second, visit) in enumerate(events):
        second = max(second, free)
        lengths = _BURSTS[: plan.max_burst]
        frames = int(rng.choice(plan.max_burst, p=lengths / lengths.sum())) + 1
        triggers.append(Trigger(index, second, frames, visit))
        free = second + frames + _QUIET_SECONDS
    return triggers


def _draw_difficulties(rng: np.random.Generator, plan: CameraPlan) -> list[str]:
    """The difficulty of each visit, in shares as exact as whole numbers allow, clear ones first."""
    limits = np.cumsum(_shares(plan.clear_visits))
    levels = (np.arange(plan.visits) + rng.random()) / max(plan.visits, 1) * limits[-1]
    drawn = [list(DIFFICULTIES)[k] for k in np.searchsorted(limits, levels, side="right")]
    first = len(plan.residents)
    return ["clear"] * first + [str(name) for name in rng.permutation(drawn[first:])]


def _shares(clear: float) -> list[float]:
    """How often each of DIFFICULTIES happens if a share of the visits is clear."""
    if clear == DIFFICULTIES["clear"]:
        return list(DIFFICULTIES.values())
    hard = (1 - clear) / (1 - DIFFICULTIES["clear"])
    return [clear if name == "clear" else hard * share for name, share in DIFFICULTIES.items()]


def _draw_visit(
    rng: np.random.Generator, plan: CameraPlan, difficulty: str, resident: Resident | None
) -> tuple[Visit, float]:
    """Draws a visit and its hour, by `resident` if it is given."""
    stray = resident is None and rng.random() < STRAY_RATE
    if resident is None:
        weights = np.array([r.weight for r in plan.residents])
        resident = plan.residents[int(rng.choice(len(weights), p=weights / weights.sum()))]
    species = resident.species
    if stray:
        species = plan.strays.get(species, species)
    look = BY_NAME[species]
    others = max(look.herd * plan.herd - 1, 0)
    count = 1 if difficulty == "cropped" else 1 + min(int(rng.poisson(others)), 5)
    trail = resident.lengths
    if difficulty == "far":
        trail = (float(rng.uniform(0.065, 0.09)),) * 2
    hour = rng.normal(resident.hour, look.hour[1])
    if difficulty == "night":
        hour = rng.uniform(SUNSET, SUNRISE + 24)
    elif difficulty != "clear":  # one difficulty at a time
        hour = np.clip(hour, SUNRISE + 0.2, SUNSET - 0.2)
    direction = 1 if rng.random() < 0.5 else -1
    return Visit(species, trail, count, difficulty, direction), float(hour)


def _second(rng: np.random.Generator, days: int, hour: float) -> int:
    day = int(rng.integers(days))
    return day * _DAY + int((hour % 24) * 3600) % _DAY
