"""What a memory could gain on a simulated archive: read `__main__`.

boxes       the boxes of an archive and what is known about them
reaches     which other boxes each way of remembering may look at
pooling     how many boxes are named right when what these show is put together
detections  the class scores that a detector gives each box
"""
