"""Synthetic cameras, written in the layouts of the public data sets.

What lives here: the drawing of camera traps (`simulate_camera_traps`, COCO Camera Traps layout), of
traffic cameras (`simulate_traffic`, CityCam layout), of videos (`simulate_videos`, the layout of
ImageNet VID), of pairs of their frames with optical flow (`simulate_flow_pairs`, the layout of
FlyingChairs) and of people (`simulate_tracklets`, the layout of MARS) with NumPy and Pillow; SciPy
writes the matrices of MARS. The scenes are toys, but they contain what makes a memory useful:
look-alikes that one frame cannot tell apart and other frames of the same camera can, still things
that look like animals, habits, herds and timetables.

What does not: reading those layouts. Files made here are read by the readers for the real data.

Modules, from the outside in:
  camera_traps   a study: plans, writes, counts
  habits         which animals live where, and when the cameras fire
  bursts         the frames of one camera trap and the truth about them
  places, scenes, light  painting a place; seeing it; the light, weather and sensor of a moment
  species, sprites  the animals; how they are drawn
  videos         a set of videos: writes, counts, opens again
  film           one video: its cast, its frames, what each shows, its optical flow
  motion, looks  how cameras and animals move; when animals hide what tells them apart
  flow_pairs     pairs of frames with their optical flow
  panorama, flow_files  a place for a moving camera; optical flow on disk
  traffic        a set of traffic cameras: writes, counts
  traffic_flow   which vehicles are on the road, and when
  roads, vehicles   the road as the camera sees it; what drives there
  people         tracklets of people, in the layout of MARS: plans, writes, counts
  people_figures   how people are drawn, and what stands before them
  citycam, writers  XML and regions; folders, photographs, JSON
  settings, arguments  the settings with their help texts; fields, parsing, checks
  jobs, canvas   workers; small image operations
"""

from context_rcnn.simulation.camera_traps import simulate_camera_traps
from context_rcnn.simulation.flow_pairs import simulate_flow_pairs
from context_rcnn.simulation.people import simulate_tracklets
from context_rcnn.simulation.traffic import simulate_traffic
from context_rcnn.simulation.videos import open_film, simulate_videos

__all__ = [
    "open_film",
    "simulate_camera_traps",
    "simulate_flow_pairs",
    "simulate_tracklets",
    "simulate_traffic",
    "simulate_videos",
]
