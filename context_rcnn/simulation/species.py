"""The animals that can be simulated: how they are built, what they wear, and how they live.

Most species come in look-alike pairs: one build, one mean colour, and two coats that tell them
apart while their detail can be seen. Seen far away, blurred or at night the two are the same
picture. Both of a pair wear a coat, so that neither, clearly seen, looks like the other with its
coat hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

from context_rcnn.simulation import canvas

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Build:
    """Proportions of a body in units of its trunk length."""

    depth: float = 0.42  # height of the trunk
    legs: float = 0.55
    leg_width: float = 0.09
    neck: float = 0.40
    neck_angle: float = 45.0  # degrees above the horizontal
    neck_width: float = 0.20
    head: float = 0.30
    ears: float = 0.10
    tail: float = 0.35
    tail_angle: float = -70.0
    horns: float = 0.0
    mane: bool = False


@dataclass(frozen=True)
class Species:
    """One species: body, coat and habits.

    Attributes:
      name: category name in the written data.
      kind: species of one kind share the build and the mean colour: they are look-alikes.
      colour: mean colour of the fur.
      coat: name of the pattern (see `sprites.COATS`).
      coat_colour: colour of the pattern relative to the mean colour.
      size: length of the whole animal relative to a zebra.
      herd: mean number of individuals that pass together.
      hour: hour of the day at which it is most often out, and its spread in hours.
    """

    name: str
    kind: str
    build: Build
    colour: Colour
    coat: str
    coat_colour: Colour
    size: float
    herd: float
    hour: tuple[float, float]


_HORSE = Build(neck=0.42, neck_angle=42, neck_width=0.24, head=0.32, mane=True)
_DEER = Build(depth=0.36, legs=0.60, leg_width=0.07, neck_angle=55, neck_width=0.16, head=0.24,
              tail=0.12, tail_angle=-50, horns=0.42)  # fmt: skip
_CAT = Build(depth=0.30, legs=0.34, leg_width=0.10, neck=0.16, neck_angle=20, neck_width=0.22,
             head=0.24, ears=0.06, tail=0.75, tail_angle=25)  # fmt: skip
_PIG = Build(depth=0.52, legs=0.26, leg_width=0.09, neck=0.14, neck_angle=-5, neck_width=0.40,
             head=0.40, ears=0.10, tail=0.10, tail_angle=-30)  # fmt: skip
_GIRAFFE = Build(depth=0.46, legs=0.95, leg_width=0.10, neck=1.05, neck_angle=62, neck_width=0.20,
                 head=0.26, ears=0.08, tail=0.45, horns=0.10)  # fmt: skip
_BEAR = Build(depth=0.62, legs=0.32, leg_width=0.17, neck=0.14, neck_angle=10, neck_width=0.38,
              head=0.34, ears=0.08, tail=0.0)  # fmt: skip
_HARE = Build(depth=0.50, legs=0.22, leg_width=0.12, neck=0.12, neck_angle=50, neck_width=0.24,
              head=0.32, ears=0.42, tail=0.12, tail_angle=40)  # fmt: skip
_BUFFALO = Build(depth=0.56, legs=0.42, leg_width=0.14, neck=0.20, neck_angle=15, neck_width=0.34,
                 head=0.34, ears=0.12, tail=0.40, horns=0.25)  # fmt: skip
_CRANE = Build(depth=0.36, legs=0.85, leg_width=0.05, neck=0.75, neck_angle=70, neck_width=0.09,
               head=0.20, ears=0.0, tail=0.25, tail_angle=-20)  # fmt: skip

_GREY, _RUFOUS, _TAWNY = (0.56, 0.54, 0.51), (0.60, 0.38, 0.20), (0.76, 0.57, 0.31)
_NONE = (0.0, 0.0, 0.0)

# In order of how common they are; the first `n` of them make up a world with `n` species.
CATALOGUE: tuple[Species, ...] = (
    Species("zebra", "horse", _HORSE, _GREY, "stripes", (0.44, 0.44, 0.45), 1.00, 1.9, (9.5, 2.5)),
    Species("wild_ass", "horse", _HORSE, _GREY, "saddle", (-0.45, -0.45, -0.42), 1.00, 1.9,
            (9.5, 2.5)),
    Species("fallow_deer", "deer", _DEER, _RUFOUS, "spots", (0.5, 0.6, 0.6), 0.85, 1.6, (7.5, 2.0)),
    Species("red_deer", "deer", _DEER, _RUFOUS, "rump", (0.30, 0.40, 0.45), 0.85, 1.6, (7.5, 2.0)),
    Species("leopard", "cat", _CAT, _TAWNY, "rosettes", (-0.6, -0.5, -0.3), 0.85, 1.0, (18.0, 2.5)),
    Species("puma", "cat", _CAT, _TAWNY, "saddle", (0.22, 0.36, 0.50), 0.85, 1.0, (18.0, 2.5)),
    Species("giraffe", "giraffe", _GIRAFFE, (0.72, 0.53, 0.30), "patches", (-0.4, -0.4, -0.25),
            1.05, 1.5, (14.0, 2.5)),
    Species("bear", "bear", _BEAR, (0.17, 0.12, 0.10), "plain", _NONE, 0.95, 1.1, (16.0, 3.5)),
    Species("collared_peccary", "peccary", _PIG, (0.30, 0.27, 0.27), "collar", (0.6, 0.6, 0.55),
            0.70, 2.2, (17.0, 2.5)),
    Species("white_lipped_peccary", "peccary", _PIG, (0.30, 0.27, 0.27), "rump", (0.4, 0.4, 0.35),
            0.70, 2.2, (17.0, 2.5)),
    Species("hare", "hare", _HARE, (0.62, 0.52, 0.42), "plain", _NONE, 0.55, 1.2, (6.5, 2.0)),
    Species("crane", "crane", _CRANE, (0.82, 0.83, 0.86), "rump", (-0.6, -0.6, -0.6),
            0.60, 1.7, (11.0, 3.0)),
    Species("buffalo", "buffalo", _BUFFALO, (0.17, 0.12, 0.10), "plain", _NONE, 0.95, 2.0,
            (16.0, 3.5)),
)  # fmt: skip

_ELSEWHERE_KINDS = 20
_PATTERNS = ("stripes", "spots", "patches", "rump", "saddle")  # that show on any build


def _animals_elsewhere() -> tuple[Species, ...]:
    """Other species, two of each of many builds, as a set of many classes has them.

    The two differ in their coats, so that an extractor trained on them must read coats.
    """
    rng = canvas.generator(1912, 0)
    found = []
    for kind in range(_ELSEWHERE_KINDS):
        build = Build(
            depth=rng.uniform(0.28, 0.64), legs=rng.uniform(0.18, 1.0),
            leg_width=rng.uniform(0.05, 0.16), neck=rng.uniform(0.08, 1.0),
            neck_angle=rng.uniform(-5, 75), neck_width=rng.uniform(0.10, 0.40),
            head=rng.uniform(0.18, 0.42), ears=rng.uniform(0.0, 0.35), tail=rng.uniform(0.0, 0.75),
            tail_angle=rng.uniform(-70, 40), horns=float(rng.choice((0.0, 0.15, 0.4))),
            mane=bool(rng.random() < 0.3),
        )  # fmt: skip
        red, green, blue = rng.uniform(0.15, 0.8, 3).tolist()
        colour = (red, green, blue)
        sign = -1.0 if sum(colour) > 1.5 else 1.0
        size, herd, hour = rng.uniform(0.55, 1.05), rng.uniform(1.0, 2.2), rng.uniform(6.5, 18.0)
        for number, coat in enumerate(rng.choice(_PATTERNS, 2, replace=False)):
            red, green, blue = (sign * rng.uniform(0.4, 0.6, 3)).tolist()
            found.append(
                Species(
                    f"animal_{2 * kind + number + 1:02d}",
                    f"kind_{kind + 1:02d}",
                    build,
                    colour,
                    str(coat),
                    (red, green, blue),
                    float(size),
                    float(herd),
                    (float(hour), 2.5),
                )
            )
    return tuple(found)


ELSEWHERE: tuple[Species, ...] = _animals_elsewhere()
"""Species that no other simulation has."""

WORLDS: dict[str, tuple[Species, ...]] = {"home": CATALOGUE, "elsewhere": ELSEWHERE}

BY_NAME: dict[str, Species] = {species.name: species for species in CATALOGUE + ELSEWHERE}


def lookalike(name: str, among: tuple[str, ...]) -> str | None:
    """Returns the species of `among` that is mistaken for `name`, or None."""
    kind = BY_NAME[name].kind
    return next((n for n in among if n != name and BY_NAME[n].kind == kind), None)
