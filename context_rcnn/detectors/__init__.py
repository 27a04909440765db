"""The still-image detector: backbones, anchors, target assignment, losses, and the two-stage pass.

Read `two_stage.TwoStageDetector` first: it has the two ports where a memory may enter. Memories are
in `models/`, mechanisms in `layers/`, and the reading of data in `data/`.
"""
