"""MEGA (arXiv 2003.12063).

aggregation  the paper: the box port, and training on a few frames of a video
stream       its Algorithm 1, frame by frame
model        its interface to the rest of the package
"""

from context_rcnn.models.mega.model import MODEL

__all__ = ["MODEL"]
