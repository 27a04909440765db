"""Who is on the road when: moving traffic, parked vehicles, the bus that keeps its timetable."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from context_rcnn.simulation.roads import FARTHEST, Road
from context_rcnn.simulation.vehicles import BIG_BUS, Vehicle, random_vehicle

_PARKED_SHARE = 0.22  # of the vehicles in a frame
_BAY = 7.0  # metres of kerb a parked vehicle takes
_CLOSEST = 9.0  # metres from the middle of a vehicle to that of the next in its lane
# Vehicles that reach into the frame with their middle outside of it make up for hidden ones.
_SEEN = 0.93


@dataclass(frozen=True)
class Timetable:
    """A bus that passes the middle of the view at `phase + k * period` seconds."""

    period: float
    phase: float

    def passes(self, start: float, end: float) -> list[float]:
        """Times of the passes in [start, end)."""
        first = math.ceil((start - self.phase) / self.period)
        last = math.ceil((end - self.phase) / self.period)
        return [self.phase + k * self.period for k in range(first, last)]


@dataclass(frozen=True)
class Traffic:
    """What drives on a road, all the year.

    Attributes:
      vehicles_per_frame: mean number of annotated vehicles.
      shares: how often each of `TYPES` is met.
      timetable: that of the line bus.
      fleet: vehicles that belong to the road and pass again and again.
      fleet_fraction: share of the moving vehicles that is of the fleet.
    """

    vehicles_per_frame: float
    shares: np.ndarray
    timetable: Timetable
    fleet: tuple[Vehicle, ...] = ()
    fleet_fraction: float = 0.0


@dataclass(frozen=True)
class OnRoad:
    """A vehicle at one instant."""

    vehicle: Vehicle
    track: int
    x: float
    z: float
    heading: int
    parked: bool


@dataclass(frozen=True)
class _Moving:
    vehicle: Vehicle
    track: int
    lane: int
    offset: float  # metres along the lane at the start of the clip


def park(rng: np.random.Generator, road: Road, traffic: Traffic) -> list[OnRoad]:
    """Fills some of the parking bays along both kerbs."""
    left, right = road.kerbs
    bays = []
    for x, heading in ((left + 1.2, -1), (right - 1.2, 1)):
        near, far = road.visible_stretch(x)
        bays += [(x, float(z), heading) for z in np.arange(near + 2, min(far, 55.0) - 2, _BAY)]
    wanted = min(round(_PARKED_SHARE * traffic.vehicles_per_frame), len(bays))
    chosen = rng.choice(len(bays), wanted, replace=False).tolist() if wanted else []
    parked = []
    for bay in sorted(chosen):
        vehicle = random_vehicle(rng, traffic.shares, longest=_BAY - 1)
        x, z, heading = bays[bay]
        parked.append(OnRoad(vehicle, 0, x, z + rng.uniform(-0.4, 0.4), heading, True))
    return parked


class Flow:
    """The traffic of one clip. Every lane moves at its own constant speed, so nobody collides."""

    def __init__(
        self,
        rng: np.random.Generator,
        road: Road,
        parked: list[OnRoad],
        traffic: Traffic,
        *,
        start: float,
        duration: float,
    ):
        self._road, self._start, self._traffic = road, start, traffic
        self._parked = [OnRoad(p.vehicle, n, p.x, p.z, p.heading, True)
                        for n, p in enumerate(parked, 1)]  # fmt: skip
        self._speeds = rng.uniform(5.0, 9.0, len(road.lanes))
        self._moving = self._fill_lanes(rng, duration)
        if traffic.fleet_fraction:
            self._send_fleet(rng)
        self._add_buses(duration)

    def fleet_tracks(self) -> dict[int, int]:
        """Which vehicle of the fleet, by its place in it, each track is."""
        places = {vehicle: place for place, vehicle in enumerate(self._traffic.fleet)}
        return {m.track: places[m.vehicle] for m in self._moving if m.vehicle in places}

    def _send_fleet(self, rng: np.random.Generator) -> None:
        """Puts vehicles of the fleet, each at most once, in the place of others."""
        fleet, share = self._traffic.fleet, self._traffic.fleet_fraction
        count = min(int(rng.binomial(len(self._moving), share)), len(fleet))
        slots = rng.choice(len(self._moving), count, replace=False)
        chosen = rng.choice(len(fleet), count, replace=False)
        for slot, place in zip(slots.tolist(), chosen.tolist(), strict=True):
            self._moving[slot] = replace(self._moving[slot], vehicle=fleet[place])

    def _fill_lanes(self, rng: np.random.Generator, duration: float) -> list[_Moving]:
        wanted = self._traffic.vehicles_per_frame - len(self._parked)
        stretches = [self._road.visible_stretch(lane.x) for lane in self._road.lanes]
        total = sum(far - near for near, far in stretches)
        spacing = max(_SEEN * total / max(wanted, 0.01), _CLOSEST)
        slack = max(spacing - 13.0, 0.0)
        moving: list[_Moving] = []
        for lane, speed in enumerate(self._speeds):
            slots = math.ceil((FARTHEST + 20 + speed * duration) / spacing)
            shift = rng.uniform(0, spacing)
            for slot in range(slots):
                offset = FARTHEST + 10 - shift - slot * spacing + rng.uniform(-0.5, 0.5) * slack
                track = len(self._parked) + len(moving) + 1
                moving.append(
                    _Moving(random_vehicle(rng, self._traffic.shares), track, lane, float(offset))
                )
        return moving

    def _add_buses(self, duration: float) -> None:
        """Puts the bus into the outermost lane and takes out what is in its way."""
        lane = len(self._road.lanes) - 1
        speed = self._speeds[lane]
        near, far = self._road.visible_stretch(self._road.lanes[lane].x)
        reach = FARTHEST / speed
        bus = Vehicle(BIG_BUS, BIG_BUS.paints[0])
        track = len(self._parked) + len(self._moving)
        for time in self._traffic.timetable.passes(
            self._start - reach, self._start + duration + reach
        ):
            offset = (near + far) / 2 - speed * (time - self._start)
            self._moving = [
                m for m in self._moving
                if m.lane != lane
                or abs(m.offset - offset) > (m.vehicle.type.size[0] + BIG_BUS.size[0]) / 2 + 2
            ]  # fmt: skip
            track += 1
            self._moving.append(_Moving(bus, track, lane, float(offset)))

    def at(self, second: float) -> list[OnRoad]:
        """The vehicles `second` seconds into the clip, the farthest from the camera first."""
        present = list(self._parked)
        for m in self._moving:
            lane = self._road.lanes[m.lane]
            along = m.offset + self._speeds[m.lane] * second
            z = along if lane.heading > 0 else FARTHEST - along
            if 2.0 + m.vehicle.type.size[0] / 2 < z < FARTHEST:
                present.append(OnRoad(m.vehicle, m.track, lane.x, z, lane.heading, False))
        return sorted(present, key=lambda v: -math.hypot(v.x, v.z))
