"""Simulates static traffic cameras and writes them in CityCam's layout.

```
<output_dir>/164/164-20160502-09/000001.jpg, 000001.xml   frames of a clip, about one a second
<output_dir>/164/164-20160502-09.msk                      region of interest
<output_dir>/train_test_separation/Downtown_Train.txt ... clip folders of each split
<output_dir>/simulation.json                              parameters and the buses' timetables
```
"""

from __future__ import annotations

import datetime
import math
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from context_rcnn.simulation import canvas, citycam, writers
from context_rcnn.simulation.arguments import first_day
from context_rcnn.simulation.jobs import Progress, run_jobs
from context_rcnn.simulation.roads import WEATHERS, Road, build_road, photograph
from context_rcnn.simulation.settings import TrafficSettings
from context_rcnn.simulation.traffic_flow import Flow, OnRoad, Timetable, Traffic, park
from context_rcnn.simulation.vehicles import TYPES, VehiclePainter, road_fleet, shares_of_a_road

# CityCam's cameras, and as many of our own as anybody may want; every other one is counted to
# Downtown here, the others to Parkway.
CAMERA_IDS = ("164", "166", "170", "173", "181", "253", "398", "403", "410", "411", "495", "511",
              "551", "572", "691", "846", "928", *map(str, range(1001, 1484)))  # fmt: skip
AREAS = ("Downtown", "Parkway")

# Visible pixels, and pixels of the shorter side, in a frame 352 wide; vehicles that show less are
# not annotated.
MIN_PIXELS, MIN_SIDE = 45, 4

_SEPARATION, _BIG = "train_test_separation", "bigbus"
_CONTENTS = (*CAMERA_IDS, _BIG, _SEPARATION)
_ROAD, _PARKED, _BUS, _CLIPS, _FLOW, _SENSOR, _SHARES, _FLEET = range(20, 28)  # random streams


def simulate_traffic(
    output_dir: str | os.PathLike[str],
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Simulates traffic cameras and writes their clips and labels.

    The same settings give the same bytes, whatever the number of workers. With more than one
    worker the calling script needs the usual `if __name__ == "__main__":`.

    Args:
      output_dir: folder to write; an earlier simulation in it is replaced.
      workers: processes to use.
      overwrite: write even into a folder that holds other things; they are kept.
      progress: called as `progress(camera, frames_done, frames_total)` when a camera is done.
      **settings: fields of `TrafficSettings`.

    Returns:
      Counts: clips, frames, boxes, boxes by type and frames by camera.
    """
    chosen = TrafficSettings(**settings)
    writers.check_workers(workers)
    root, marker = writers.begin(output_dir, "simulate_traffic", chosen, _CONTENTS, overwrite)
    jobs = [_CameraJob(root, index, chosen) for index in range(chosen.cameras)]
    records = run_jobs(jobs, workers, progress)
    _write_separation(root / _SEPARATION, records, chosen.test_fraction)
    if chosen.dirt:
        _copy_big_subset(root, records[0])
    marker["cameras"] = {job.name: r.truth for job, r in zip(jobs, records, strict=True)}
    writers.write_json(root / writers.MARKER, marker)
    types: Counter = sum((record.types for record in records), Counter())
    return {
        "cameras": chosen.cameras,
        "clips": sum(len(record.clips) for record in records),
        "frames": sum(job.frames for job in jobs),
        "boxes": types.total(),
        "boxes_per_type": {kind.name: types[kind.label] for kind in TYPES},
        "frames_per_camera": {job.name: job.frames for job in jobs},
    }


@dataclass(frozen=True)
class _Records:
    """What one camera adds to the data set."""

    name: str
    area: str
    clips: list[str]
    types: Counter
    truth: dict[str, Any]


@dataclass(frozen=True)
class _CameraJob:
    """Draws and writes all clips of one camera."""

    root: Path
    index: int
    settings: TrafficSettings

    @property
    def name(self) -> str:
        return CAMERA_IDS[self.index]

    @property
    def frames(self) -> int:
        settings = self.settings
        return settings.days * settings.clips_per_day * settings.frames_per_clip

    def __call__(self) -> _Records:
        settings = self.settings
        road = build_road(self._generator(_ROAD), settings.image_size)
        phase = float(self._generator(_BUS).integers(int(settings.bus_period)))
        traffic = Traffic(
            settings.vehicles_per_frame,
            shares_of_a_road(self._generator(_SHARES)),
            Timetable(settings.bus_period, phase),
            road_fleet(self._generator(_FLEET), settings.fleet),
            settings.fleet_fraction,
        )
        clips: list[str] = []
        types: Counter = Counter()
        passes: dict[str, dict[int, int]] = {}
        for day in range(settings.days):
            # Parked vehicles stay for a day, half of them for the whole time.
            parked = park(self._generator(_PARKED), road, traffic)
            today = park(self._generator(_PARKED, day), road, traffic)
            parked = _share_kerb(parked, today)
            for second, weather in self._draw_clips(day):
                taken = self._start + datetime.timedelta(seconds=second)
                clip = f"{self.name}-{taken:%Y%m%d-%H}"
                flow = Flow(
                    self._generator(_FLOW, second),
                    road,
                    parked,
                    traffic,
                    start=second,
                    duration=settings.clip_seconds,
                )
                types += self._write_clip(clip, road, flow, taken, weather)
                clips.append(clip)
                passes[clip] = flow.fleet_tracks()
        return _Records(
            self.name, AREAS[self.index % 2], clips, types, self._truth(traffic, clips, passes)
        )

    def _truth(
        self, traffic: Traffic, clips: list[str], passes: dict[str, dict[int, int]]
    ) -> dict[str, Any]:
        timetable = traffic.timetable
        truth: dict[str, Any] = {
            "area": AREAS[self.index % 2],
            "bus": {"period": timetable.period, "phase": timetable.phase},
            "clips": clips,
        }
        if traffic.fleet_fraction:
            truth["fleet"] = [
                {"type": vehicle.type.label, "paint": [round(c, 3) for c in vehicle.paint]}
                for vehicle in traffic.fleet
            ]
            truth["fleet_passes"] = passes
        return truth

    @property
    def _start(self) -> datetime.datetime:
        return first_day(self.settings.start).replace(hour=0, minute=0, second=0)

    def _generator(self, purpose: int, *key: int) -> np.random.Generator:
        return canvas.generator(self.settings.seed, purpose, self.index, *key)

    def _draw_clips(self, day: int) -> list[tuple[int, str]]:
        """The second after the start and the weather of each clip of a day."""
        rng = self._generator(_CLIPS, day)
        # By day as long as its hours suffice, and about every fourth clip in the dark.
        weights = np.where((np.arange(24) >= 6) & (np.arange(24) < 20), 1.0, 0.45)
        hours = rng.choice(
            24, self.settings.clips_per_day, replace=False, p=weights / weights.sum()
        )
        weather = str(rng.choice(WEATHERS, p=(0.45, 0.2, 0.2, 0.15)))
        if self.settings.dirt and day == 0:
            weather = "Sunny & Cloudy"  # the raw ampersand must occur
        longest = 3600 - int(self.settings.clip_seconds)
        clips = []
        for hour in sorted(int(h) for h in hours):
            clips.append((day * 86400 + hour * 3600 + int(rng.integers(longest + 1)), weather))
        return clips

    def _write_clip(
        self, clip: str, road: Road, flow: Flow, taken: datetime.datetime, weather: str
    ) -> Counter:
        folder = self.root / self.name / clip
        folder.mkdir(parents=True)
        citycam.write_region(folder.with_name(f"{clip}.msk"), road.outline())
        seconds = int((taken - self._start).total_seconds())
        types: Counter = Counter()
        before: set[int] = set()
        for number in range(1, self.settings.frames_per_clip + 1):
            elapsed = (number - 1) * self.settings.frame_interval
            time = taken + datetime.timedelta(seconds=elapsed)
            image, seen = draw_frame(
                road,
                flow.at(elapsed),
                hour=time.hour + time.minute / 60,
                weather=weather,
                rng=self._generator(_SENSOR, seconds, number),
            )
            label = citycam.FrameLabel(
                frame=number,
                time=time,
                size=self.settings.image_size,
                weather=weather,
                facing=1,
                vehicles=tuple(
                    citycam.LabelledVehicle(
                        v.track, _corners(mask), v.vehicle.type.label, v.heading, v.track in before
                    )
                    for v, mask in seen
                ),
            )
            before = {v.track for v, _ in seen}
            types += Counter(vehicle.type for vehicle in label.vehicles)
            if self.settings.dirt:
                label = citycam.soil(label)
            path = folder / f"{number:06d}.jpg"
            Image.fromarray(image).save(path, quality=writers.JPEG_QUALITY)
            xml = citycam.frame_xml(label, raw_ampersand=self.settings.dirt)
            path.with_suffix(".xml").write_text(xml, encoding="utf-8")
        return types


def draw_frame(
    road: Road, vehicles: list[OnRoad], *, hour: float, weather: str, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[OnRoad, np.ndarray]]]:
    """Draws one frame.

    Args:
      road: the place.
      vehicles: vehicles on the road, the farthest first.
      hour: hour of the day.
      weather: one of `roads.WEATHERS`.
      rng: random numbers of rain and sensor noise.

    Returns:
      The frame `[height, width, 3]` uint8, and the vehicles that show enough of themselves with
      their visible pixels, bool `[height, width]`.
    """
    picture = Image.fromarray(road.background)
    owners = Image.new("L", picture.size)
    painter = VehiclePainter(road.projection, ImageDraw.Draw(picture), ImageDraw.Draw(owners))
    dark = not 6.5 <= hour < 19.5
    for number, v in enumerate(vehicles, 1):
        painter.draw(v.vehicle, v.x, v.z, v.heading, number, lights=dark and not v.parked)
    image = photograph(picture, hour=hour, weather=weather, rng=rng)
    step = picture.width // image.shape[1]
    owner_of = np.asarray(owners)[::step, ::step]
    unit = image.shape[1] / 352
    pixels = np.bincount(owner_of.ravel(), minlength=len(vehicles) + 1)
    seen = []
    for number, v in enumerate(vehicles, 1):
        mask = owner_of == number
        if pixels[number] < MIN_PIXELS * unit**2:
            continue
        if min(canvas.filled_box(mask)[2:]) >= MIN_SIDE * unit:
            seen.append((v, mask))
    return image, seen


def _corners(mask: np.ndarray) -> tuple[int, int, int, int]:
    x, y, width, height = canvas.filled_box(mask)
    return x, y, x + width, y + height


def _share_kerb(always: list[OnRoad], today: list[OnRoad]) -> list[OnRoad]:
    """Every other vehicle of `always`, and as many of `today` as find a free bay."""
    kept = always[::2]
    for vehicle in today:
        free = all(abs(k.z - vehicle.z) > 6 or k.x != vehicle.x for k in kept)
        if free and len(kept) < len(always):
            kept.append(vehicle)
    return kept


def _write_separation(folder: Path, records: list[_Records], test_fraction: float) -> None:
    """Lists the clip folders of each area's training and test cameras."""
    folder.mkdir()
    held_out = min(math.ceil(test_fraction * len(records) - 1e-9), len(records) - 1)
    first_test = len(records) - held_out
    for area in AREAS:
        for split, chosen in (("Train", records[:first_test]), ("Test", records[first_test:])):
            clips = [clip for record in chosen if record.area == area for clip in record.clips]
            text = "".join(f"{clip}\n" for clip in clips)
            (folder / f"{area}_{split}.txt").write_text(text, encoding="utf-8")


def _copy_big_subset(root: Path, record: _Records) -> None:
    """Adds a special subset as CityCam has: frames that other folders have already."""
    source = root / record.name / record.clips[0]
    target = root / _BIG / record.clips[0].replace(record.name, _BIG, 1)
    shutil.copytree(source, target)
