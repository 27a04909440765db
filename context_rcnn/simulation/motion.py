"""How cameras and animals of videos move. Lengths are in pixels, times in frames.

Animals have inertia: each stretch of a path has one acceleration (none, some, or that of a turn),
and begins with the velocity with which the last one ended.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from context_rcnn.simulation.settings import VideoSettings

STRETCH = (12, 24)  # frames of a stretch

_SWING = 0.35  # how far a camera pans to each side, in frame widths
_ROAM = 0.5  # how far animals walk to each side, in frame widths
_INERTIA = 0.35  # share by which a camera approaches the speed that it is turned with, per frame
_TURN_SHARE, _STEADY_SHARE = 0.15, 0.6  # of the stretches; in the others the speed changes


def camera_path(rng: np.random.Generator, frames: int, settings: VideoSettings) -> np.ndarray:
    """Shifts of a camera `[frames, 2]` in whole pixels: a pan to and fro, and jitter."""
    still = rng.random() < settings.still_fraction
    pan, jitter = rng.uniform(0, (settings.pan, settings.jitter)) * settings.cell * (not still)
    swing = _SWING * settings.image_size[0]
    place, velocity = rng.uniform(-swing, swing), 0.0
    heading = 1 if rng.random() < 0.5 else -1
    places = np.empty(frames)
    for number in range(frames):
        places[number] = place
        if heading * place > swing:
            heading = -heading
        velocity += _INERTIA * (heading * pan - velocity)
        place += velocity
    shaken = rng.uniform(-0.5, 0.5, (frames, 2)) * jitter
    shaken[:, 0] += places
    return np.rint(shaken).astype(int)


@dataclass(frozen=True)
class Path:
    """Where an animal is.

    Attributes:
      columns: its middle in each frame, in pixels from the middle of the place.
      velocities: pixels per frame to the right.
      swelling: its length in each frame relative to its mean; it comes nearer and goes away.
    """

    columns: np.ndarray
    velocities: np.ndarray
    swelling: np.ndarray

    @property
    def directions(self) -> np.ndarray:
        """1 where it faces right, -1 where it faces left: as it moves, or as it moved last."""
        signs = np.sign(self.velocities)
        signs[0] = signs[0] or 1
        last = np.maximum.accumulate(np.where(signs != 0, np.arange(len(signs)), 0))
        return signs[last].astype(int)


def animal_path(rng: np.random.Generator, frames: int, settings: VideoSettings) -> Path:
    """Draws the path of an animal, or the place of one that stands still."""
    width = settings.image_size[0]
    start = rng.uniform(-0.4, 0.4) * width
    heading = 1 if rng.random() < 0.5 else -1
    phase, pace = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.1)
    low, high = np.log((settings.slowest, settings.fastest)) + np.log(settings.cell)
    speed = float(np.exp(rng.uniform(low, high)))
    if rng.random() < settings.static_fraction:
        facing = np.full(frames, heading * 1e-9)
        return Path(np.full(frames, start), facing, np.ones(frames))
    limits = np.exp((low, high))
    velocities = _velocities(rng, frames, heading * speed, start, _ROAM * width, limits)
    steps = np.concatenate([[0.0], (velocities[1:] + velocities[:-1]) / 2])
    swelling = 1 + 0.12 * np.sin(phase + pace * np.arange(frames))
    return Path(start + np.cumsum(steps), velocities, swelling)


def _velocities(
    rng: np.random.Generator, frames: int, velocity: float, place: float, reach: float,
    limits: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Velocities `[frames]`, linear in each stretch."""
    knots, values = [0], [velocity]
    while knots[-1] < frames:
        length = int(rng.integers(STRETCH[0], STRETCH[1] + 1))
        kind, wanted = rng.random(), float(np.exp(rng.uniform(*np.log(limits))))
        # Frames until it leaves.
        free = (reach - np.copysign(place, velocity * place)) / max(abs(velocity), 1e-9)
        after = velocity
        if free < STRETCH[0]:
            after, length = -velocity, STRETCH[0]
        elif kind < _TURN_SHARE:
            after = -velocity
        elif kind > _TURN_SHARE + _STEADY_SHARE:
            after = float(np.copysign(wanted, velocity))
        if after == velocity:
            length = min(length, int(free))
        place += (velocity + after) / 2 * length
        velocity = after
        knots.append(knots[-1] + length)
        values.append(velocity)
    return np.interp(np.arange(frames), knots, values)


def mirrored(path: Path, middle: int) -> Path:
    """The path of one that comes towards another and crosses it.

    Args:
      path: path of the other.
      middle: frame about which to cross; the nearest one in which the other moves is taken.
    """
    moving = np.flatnonzero(np.abs(path.velocities) > 0.5 * np.abs(path.velocities).max())
    meeting = int(moving[np.argmin(np.abs(moving - middle))])
    columns = 2 * path.columns[meeting] - path.columns
    return Path(columns, -path.velocities, path.swelling)
