"""MEGA (arXiv 2003.12063).

aggregation  the paper: the box port, and training on a few frames of a video
stream       its Algorithm 1, frame by frame
model        what the rest of the house asks of it
"""

from context_rcnn.models.mega.model import MODEL

__all__ = ["MODEL"]
