"""Writes CityCam's files: one XML per frame, and the region of interest of a clip.

`dirt` repeats the faults that the published archive is known for, so that a reader can be tested.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

_FORWARD, _TOWARD = 1, 2


@dataclass(frozen=True)
class LabelledVehicle:
    """One `vehicle` of a frame's XML; the box ends at `xmax`, `ymax` exclusively."""

    track: int
    box: tuple[int, int, int, int]  # xmin, ymin, xmax, ymax
    type: int
    heading: int
    seen_before: bool


@dataclass(frozen=True)
class FrameLabel:
    """What a frame's XML says."""

    frame: int
    time: datetime.datetime
    size: tuple[int, int]
    weather: str
    facing: int
    vehicles: tuple[LabelledVehicle, ...]


def frame_xml(label: FrameLabel, *, raw_ampersand: bool = False) -> str:
    """The XML of a frame; with `raw_ampersand` it is ill-formed where the weather has a `&`."""
    weather = label.weather if raw_ampersand else escape(label.weather)
    flow = sum(not vehicle.seen_before for vehicle in label.vehicles)
    lines = [
        "<annotation>",
        f"  <frame>{label.frame}</frame>",
        f"  <time>{label.time:%Y-%m-%d %H:%M:%S}</time>",
        f"  <width>{label.size[0]}</width>",
        f"  <height>{label.size[1]}</height>",
        f"  <weather>{weather}</weather>",
        f"  <facing>{label.facing}</facing>",
        f"  <flow>{flow}</flow>",
    ]
    for vehicle in label.vehicles:
        tags = ("xmin", "ymin", "xmax", "ymax")
        box = "".join(f"<{t}>{v}</{t}>" for t, v in zip(tags, vehicle.box, strict=True))
        lines += [
            "  <vehicle>",
            f"    <id>{vehicle.track}</id>",
            f"    <bndbox>{box}</bndbox>",
            f"    <type>{vehicle.type}</type>",
            f"    <direction>{_FORWARD if vehicle.heading > 0 else _TOWARD}</direction>",
            f"    <previous>{int(vehicle.seen_before)}</previous>",
            "  </vehicle>",
        ]
    return "\n".join([*lines, "</annotation>"]) + "\n"


def write_region(path: Path, polygon: Sequence[tuple[int, int]]) -> None:
    """Writes a `.msk` file: a header line, then the corners of the annotated region."""
    corners = "".join(f"[{x},{y}]\n" for x, y in polygon)
    path.write_text(f"region of interest\n{corners}", encoding="utf-8")


def soil(label: FrameLabel) -> FrameLabel:
    """Adds CityCam's faults to a label, each in the frames whose number ends in a fixed digit.

    A frame id that repeats (3), a box that begins left of the image (4), one that ends right of it
    (5), and one whose sides are swapped (6).
    """
    digit = label.frame % 10
    if digit == 3:
        return dataclasses.replace(label, frame=label.frame - 1)
    if digit not in (4, 5, 6) or not label.vehicles:
        return label
    first, *others = label.vehicles
    xmin, ymin, xmax, ymax = first.box
    box = {
        4: (-7, ymin, xmax, ymax),
        5: (xmin, ymin, label.size[0] + 9, ymax),
        6: (xmax, ymin, xmin, ymax),
    }[digit]
    return dataclasses.replace(label, vehicles=(dataclasses.replace(first, box=box), *others))
