"""Context R-CNN (arXiv 1912.03538): `memory` is the paper, `stream` runs it on live cameras."""
