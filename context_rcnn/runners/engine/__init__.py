"""What all runners share, one concern per file. Nothing here imports a runner.

A run:

    state       its state: how it begins, continues, refuses what is not its own, is forgotten
    options     the options of every run
    progress    the progress of a stage
    outputs     the files that it writes, and those that it must not replace
    words       messages about results

A model:

    model       the facts about a model, and how it is run
    memory      the part of a camera's bank that a batch of images sees
    detect      the detections of a model, in the form of results
    detections  the same for programs
    steps       its steps frame by frame, and its state in a file
    looks       looking once at each frame of a video, for a model that gets it twice
    extract     the output of an extractor, in the form of a memory bank
    given       boxes of another detector, for a model that names them

Pictures:

    files       names of files in results, and the facts that a look at a file gives
    prepared    an image that is ready for a model, or the reason why it cannot be used
    ahead       preparing images in threads, ahead of the model
    video_file  the frames of a video file
"""
