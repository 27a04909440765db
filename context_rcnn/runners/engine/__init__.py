"""What all runners share, one concern a file. Nothing here imports a runner.

A run:

    state       how it begins, is found again, refuses strangers, is forgotten
    options     what people may choose about every run
    progress    how far a stage is
    outputs     the files that it writes, and those that it must not replace
    words       what is said of results

A model:

    model       what is asked of a model, and how it is run
    memory      the part of a camera's bank that a batch of images sees
    detect      what a model finds in images, as results have it
    extract     what an extractor gives, as a memory bank stores it

Pictures:

    files       names of files in results, and what a look at one tells
    prepared    an image made ready for a model, or the reason why it cannot be used
    ahead       preparing images in threads, ahead of the model
    video_file  the frames of a video file
"""
