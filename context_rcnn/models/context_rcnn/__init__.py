"""Context R-CNN (arXiv 1912.03538).

memory     the paper: the box port and its attention to memories
stream     live cameras, frame by frame, with a memory that grows
attention  which entries of the bank a detection attended to
slim       the attention of the Object Detection API's TensorFlow 1 checkpoints
model      what the rest of the house asks of it
"""

from context_rcnn.models.context_rcnn.model import MODEL

__all__ = ["MODEL"]
