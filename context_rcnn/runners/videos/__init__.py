"""A folder of videos through an exported model, on one machine: `context-rcnn videos`.

    run      the stages one after the other, and what is said to the user
    find     stage 1: which videos there are, files and folders of frames
    frames   the frames of a video, in their order and in any order
    rows     stage 2: videos side by side through a model, frame by frame
    state    what a killed run goes on from: a journal for each video that is through
    options  what people may choose besides what `engine.options` has

Nothing here holds a whole video. A video that is through is not opened again as long as its files
stay the same. Its results follow from its frames, the model and the flags alone: the model is
always called with as many rows, and rows know nothing of each other.
"""
