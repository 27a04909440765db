"""Models as SavedModels that need TensorFlow alone.

export          from a training run to a model folder
card            the card of a model: what it is, learned from, reaches, and is meant for
signatures      the functions of an exported model
steps           its functions for work frame by frame
extractor       the frozen extractor, which fills memory banks
features        the frozen first part of a detector, which fills stores of images
boxes           any network on the boxes of another detector, which fills both
networks        networks of tf_keras.applications for that
exported        an exported model on NumPy arrays
detection_api   the Object Detection API's inputs and outputs
serving_client  the client of a model server
"""
