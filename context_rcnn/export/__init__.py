"""Models as SavedModels that need TensorFlow alone.

    export          from a training run to a model folder
    card            the card of a model: what it is, learned from, reaches, and is meant for
    signatures      the functions of an exported model
    steps           its functions for work frame by frame
    functions       what the functions of an exported detector have in common
    extractor       the frozen extractor, which fills memory banks
    features        the frozen first part of a detector, which fills stores of images
    boxes           any network on the boxes of another detector, which fills both
    networks        networks of tf_keras.applications for that
    exported        an exported model on NumPy arrays
    reid            a model of tracklets as a SavedModel
    embedder        such a model on NumPy arrays
    detection_api   the Object Detection API's inputs and outputs
    serving_client  the client of a model server

`card`, `embedder`, `exported` and `serving_client` belong to the core; the others need the extra
`train`.
"""
