"""What a frame is put through is counted by images, and nothing of the counting stays."""

import types

import numpy as np

from benchmarks.video_frames import EXPERIMENTS, MODELS, counted
from context_rcnn.configs import schema


class Port:
    def flow(self, now, before):
        return now - before

    def move(self, maps, flow):
        return maps + flow


def test_images_pairs_and_maps_are_counted():
    port, trunk = Port(), np.negative
    detector = types.SimpleNamespace(map_memory=port, backbone=trunk)
    with counted(detector) as counts:
        detector.backbone(np.ones([1, 2]))
        moved = port.move(np.ones([3, 2]), port.flow(np.ones([3, 2]), before=np.zeros([3, 2])))
        port.move(np.ones([2, 2]), 0)
    assert counts == {"trunk": 1, "flow": 3, "move": 5} and (moved == 2).all()
    assert detector.backbone is trunk and not vars(port)


def test_every_way_has_an_experiment_of_each_size():
    for experiments in EXPERIMENTS.values():
        for models, ways in MODELS.items():
            for way in ways.values():
                temporal = schema.load_experiment(experiments[way.temporal or models]).task.temporal
                temporal.override({temporal.type: dict(way.settings)})
                assert temporal.type == (way.temporal or models)
