"""Context R-CNN (arXiv 1912.03538).

memory     the paper: the box port and its attention to memories
stream     live cameras, frame by frame, with a memory that grows
attention  the entries of the bank that a detection attends to
slim       the attention of the Object Detection API's TensorFlow 1 checkpoints
model      its interface to the rest of the package
"""

from context_rcnn.models.context_rcnn.model import MODEL

__all__ = ["MODEL"]
