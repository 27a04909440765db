"""Memory Warps for Learning Long-Term Online Video Representations (ECCV 2018).

memory     sections 3.1 and 3.2: MemNet and ClockNet, at port 1
stream     frame by frame: detection, propagation, anticipation
boxes      section 5.2: boxes moved by the flow within them
gaps       section 5.2: evaluation at an exact distance from the last evidence
model      the interface to the rest of the package
"""

from context_rcnn.models.memory_warps.model import MemoryWarpsModel

MODEL = MemoryWarpsModel

__all__ = ["MODEL"]
