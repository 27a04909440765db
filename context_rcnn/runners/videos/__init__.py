"""A folder of videos through an exported model, on one machine: `context-rcnn videos`.

    run        the stages one after the other, and the messages to the user
    find       stage 1: the videos, which are files and folders of frames
    frames     the frames of a video, in their order and in any order
    rows       stage 2: videos side by side through a model, frame by frame
    sparing    a model that looks at fewer frames, or foretells
    two_speed  a fast detector in front, a strong one in a thread behind it
    live       a camera's stream or a file as it comes
    state      the state from which a killed run continues: a journal for each finished video
    options    options besides those of `engine.options`

Nothing here holds a whole video. A finished video is not opened again as long as its files stay the
same. Its results depend only on its frames, the model and the flags: the model is always called
with the same number of rows, and rows know nothing of each other.
"""
