"""A folder of images through an exported model, on one machine: `context-rcnn detect`.

    run      the stages one after the other, and the messages to the user
    options  options besides those of `engine.options`
    table    the facts about every image, in one SQLite file, from which a killed run continues
    look     stage 1: images, their cameras and their times
    estimate the work to be done, and about how long it takes
    remember stage 2: the frozen extractor over every new image, into the memory bank
    detect   stage 3: the detector with each camera's memory
    embeddings  what a network has seen in given boxes, so that it looks once
    clips    videos among the photographs
    explain  what the memory did to some images, for the page
    repeats  stage 4: boxes that come back in the same place, for a person to judge
    review   the pictures for this person
    words    messages about cameras and suspicious places

Nothing here holds all images at once. Slow work is done once: the extractor runs on an image once,
as long as its file stays the same, and the detector runs again only when the memory of its camera
has changed. The results depend only on the images, the model and the flags, not on how often a run
was killed or in which order images were added. Therefore the model is always called with batches of
one size (`engine.model.run`).
"""
