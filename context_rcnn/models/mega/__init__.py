"""MEGA (arXiv 2003.12063): `aggregation` is the paper, `stream` its Algorithm 1, frame by frame."""
