"""Light, weather and sensor: turns the colours of a place into the photograph of a moment."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from context_rcnn.simulation import canvas
from context_rcnn.simulation.scenes import Sight

SUNRISE, SUNSET = 5.8, 20.2  # hours; a camera switches to infrared outside of them

_TWILIGHT = 1.6  # hours over which the morning and evening light changes


@dataclass(frozen=True)
class Moment:
    """What the light and the air are like while a burst is taken.

    Attributes:
      hour: hour of the day, 0..24.
      weather: "clear", "cloudy", "fog", "rain" or "snow".
      strength: strength of the weather, 0..1.
      exposure: brightness the camera chose.
      wind: largest bend of plants in pixels.
    """

    hour: float
    weather: str = "clear"
    strength: float = 0.0
    exposure: float = 1.0
    wind: int = 0

    @property
    def night(self) -> bool:
        """Whether the camera uses its infrared flash."""
        return not SUNRISE <= self.hour < SUNSET

    @property
    def twilight(self) -> float:
        """0 in full day, 1 at sunrise and sunset."""
        to_edge = min(self.hour - SUNRISE, SUNSET - self.hour)
        return float(np.clip(1 - to_edge / _TWILIGHT, 0, 1))


def sample_weather(rng: np.random.Generator, *, snowy: bool) -> tuple[str, float]:
    """Draws the weather of a day and its strength; in a `snowy` place it snows, never rains."""
    weather = str(rng.choice(("clear", "cloudy", "fog", "wet"), p=(0.48, 0.25, 0.10, 0.17)))
    if weather == "wet":
        weather = "snow" if snowy else "rain"
    return weather, float(rng.uniform(0.3, 1.0))


def develop(
    albedo: np.ndarray, view: Sight, moment: Moment, rng: np.random.Generator
) -> np.ndarray:
    """Returns the photograph `[height, width, 3]` uint8 of an unlit picture.

    How much randomness is drawn does not depend on what the picture shows, so the same frame with
    and without its animals differs only where they are.
    """
    image = _infrared(albedo, view, moment) if moment.night else _daylight(albedo, view, moment)
    if moment.weather == "fog":
        image = _fog(image, view, moment)
    elif moment.weather == "rain":
        image = _streaks(image, moment, rng, slant=0.25, length=9, brightness=0.16)
    elif moment.weather == "snow":
        image = _streaks(image, moment, rng, slant=0.4, length=2, brightness=0.5)
    noise = 0.026 if moment.night else 0.012 + 0.014 * moment.twilight
    shape = image.shape[:2] + (1 if moment.night else 3,)
    return canvas.to_uint8(image + noise * rng.standard_normal(shape, np.float32))


def _daylight(albedo: np.ndarray, view: Sight, moment: Moment) -> np.ndarray:
    low = moment.twilight
    overcast = moment.strength if moment.weather != "clear" else 0.0
    warm = low * (1 - 0.7 * overcast)
    light = np.array((1.04, 1.0, 0.96)) * (1 - 0.42 * low) * (1 - 0.18 * overcast)
    light = light * np.array((1 + 0.22 * warm, 1.0, 1 - 0.20 * warm)) * moment.exposure
    # The sun goes from left to right and lights one side of the scene a little more.
    side = 0.16 * (1 - overcast) * math.cos(math.pi * (moment.hour - SUNRISE) / (SUNSET - SUNRISE))
    ramp = 1 + np.linspace(side, -side, albedo.shape[1], dtype=np.float32)
    image = albedo * (light.astype(np.float32) * ramp[:, None])
    if overcast:
        grey = canvas.grey(image)
        image += (0.45 * overcast) * (grey - image)
        image += view.sky[..., None] * (0.5 * overcast * (0.72 * (1 - 0.4 * low) - image))
    return image


def _infrared(albedo: np.ndarray, view: Sight, moment: Moment) -> np.ndarray:
    grey = 0.42 * albedo[..., 0] + 0.36 * albedo[..., 1] + 0.22 * albedo[..., 2]
    height, width = grey.shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    vignette = np.clip(1.12 - 0.42 * (x * x + 0.8 * y * y), 0.12, 1)
    reach = 0.16 + 0.84 * np.minimum(1.0, 2.2 * view.nearness) ** 0.8
    flash = vignette * reach * (1 - 0.93 * view.sky)
    return (0.03 + 1.02 * moment.exposure * grey * flash)[..., None].repeat(3, axis=2)


def _fog(image: np.ndarray, view: Sight, moment: Moment) -> np.ndarray:
    level = 0.30 if moment.night else 0.74 * (1 - 0.45 * moment.twilight)
    thickness = moment.strength * np.clip(0.85 - 0.95 * view.nearness, 0.05, 0.75)
    return image + thickness[..., None] * (np.float32(level) - image)


def _streaks(
    image: np.ndarray, moment: Moment, rng: np.random.Generator, *, slant: float, length: int,
    brightness: float,
) -> np.ndarray:  # fmt: skip
    """Rain or snow: short bright lines."""
    height, width = image.shape[:2]
    drops = int(0.006 * moment.strength * height * width)
    x, y = rng.integers(0, width, drops), rng.integers(0, height, drops)
    light = brightness * rng.random(drops).astype(np.float32)
    falling = np.zeros((height, width), np.float32)
    for step in range(length):
        rows, columns = y + step, x - int(slant * step)
        inside = (rows < height) & (columns >= 0)
        falling[rows[inside], columns[inside]] = light[inside]
    if length < 4:  # flakes are as wide as they are long
        falling[:, 1:] = np.maximum(falling[:, 1:], 0.8 * falling[:, :-1])
    return image + falling[..., None]
