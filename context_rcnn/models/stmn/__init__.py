"""STMN (arXiv 1712.06317).

memory       the map port: a memory in each direction of time, in the place of a convolution
predictions  boxes of a map before suppression, several times if wanted
stream       videos frame by frame: windows that slide, or a memory of the past alone
model        its interface to the rest of the package
"""

from context_rcnn.models.stmn.model import MODEL

__all__ = ["MODEL"]
