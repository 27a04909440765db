"""The still-image detector: backbones, anchors, target assignment, losses, and the two-stage pass.

`two_stage.TwoStageDetector` is the page to read first: it has the two ports where a memory may
enter. Memory itself lives in `models/`, mechanisms in `layers/`, reading data in `data/`.
"""
