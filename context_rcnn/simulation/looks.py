"""What of an animal can be seen in each frame of a video: its looks, in spells of several lengths.

A spell hides an animal for some frames, then it shows itself for some. Flickers, short and long
spells need memories of different reach.
"""

from __future__ import annotations

import numpy as np

from context_rcnn.simulation.settings import SCALES, VideoSettings

OUTLINED = ("plain", "blur", "camouflage")  # only the coat is hidden
DISSOLVED = ("faint", "defocus")  # the outline is hidden too
PICTURE = ("defocus", "glare")  # what hides all animals of a picture at once
_RARE = 0.5  # share of `clear_fraction` for which a species of rare poses shows its side


def spells(
    rng: np.random.Generator, frames: int, clear: float, scale: str, settings: VideoSettings
) -> np.ndarray:
    """Numbers the spells `[frames]`: 0 where the animal shows itself, 1.. in one spell of hiding.

    Args:
      rng: source of randomness.
      frames: number of frames.
      clear: share of the frames to show itself, never less than a frame between two spells.
      scale: one of SCALES, or "mixed", which draws one for each spell.
      settings: the lengths of the scales.
    """
    if clear >= 1:
        return np.zeros(frames, int)
    found: list[int] = []
    start = int(rng.integers(2 * settings.long[1]))  # a video begins in the middle of things
    number = 0
    while len(found) < start + frames:
        number += 1
        drawn = str(rng.choice(SCALES)) if scale == "mixed" else scale
        first, last = getattr(settings, drawn)
        hidden = int(rng.integers(first, last + 1))
        found += [number] * hidden
        if clear > 0:
            shown = hidden * clear / (1 - clear) * rng.uniform(0.5, 1.5)
            found += [0] * max(int(shown + rng.random()), 1)
    return np.array(found[start : start + frames])


def animal_looks(
    rng: np.random.Generator, frames: int, species: str, settings: VideoSettings
) -> list[str]:
    """How an animal looks in each frame, as if nothing stood before it: a name of `LOOKS`."""
    scale = str(rng.choice(settings.scales))
    rare = species in settings.rare_poses
    never = rng.random() < settings.never_fraction or species in settings.never_shown
    clear = 0.0 if never else settings.clear_fraction * (_RARE if rare else 1)
    numbers = spells(rng, frames, clear, scale, settings)
    ends = settings.hard_ends
    if ends:
        numbers[:ends] = np.where(numbers[:ends] > 0, numbers[:ends], -1)
        numbers[-ends:] = np.where(numbers[-ends:] > 0, numbers[-ends:], -2)
    ways: dict[int, str] = {0: "clear"}
    for number in dict.fromkeys(numbers.tolist()):
        dissolved = rng.random() < settings.outline_hidden
        way = str(rng.choice(DISSOLVED if dissolved else OUTLINED))
        ways.setdefault(number, "head_on" if rare else way)
    return [ways[number] for number in numbers.tolist()]


def picture_looks(rng: np.random.Generator, frames: int, settings: VideoSettings) -> list[str]:
    """What hides the whole picture in each frame: a name of PICTURE, or "" for nothing."""
    scale = str(rng.choice(settings.scales))
    numbers = spells(rng, frames, 1 - settings.blur_fraction, scale, settings)
    ways = {0: ""}
    for number in dict.fromkeys(numbers.tolist()):
        ways.setdefault(number, str(rng.choice(PICTURE)))
    return [ways[number] for number in numbers.tolist()]
