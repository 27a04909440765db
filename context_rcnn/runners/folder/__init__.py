"""A folder of images through an exported model, on one machine: `context-rcnn detect`.

    run      the stages one after the other, and what is said to the user
    options  what people may choose besides what `engine.options` has
    table    what is known of every image, in one SQLite file; what a killed run goes on from
    look     stage 1: which images there are, of which camera, taken when
    estimate what is to be done, and about how long that takes
    remember stage 2: the frozen extractor over every new image, into the memory bank
    detect   stage 3: the detector with each camera's memory
    explain  what the memory did to some images, for the page
    repeats  stage 4: boxes that come back in the same place, for a person to judge
    review   the pictures that this person looks at
    words    what is said of cameras and of suspicious places

Nothing here holds all images at once. What takes time is done once: an image goes through the
extractor once as long as its file stays the same, and through the detector again only when the
memory of its camera has changed. The results follow from the images, the model and the flags alone,
however often a run was killed and in whatever order images were added; for that, the model is
always called with batches of one size (`engine.model.run`).
"""
