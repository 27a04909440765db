"""What is learned, one file per task, and the loop around it.

    task              what `running`, `loading` and the compile check need from a task
    detection         detectors, with a memory or without
    inputs            what a batch of the detection task is made of
    features          learning on stored images
    evaluator         the evaluation of the detection task
    detection_losses  the losses of both stages
    accumulation      a batch in parts, one after another
    start             the weights that a detector starts from
    reid              re-identification
    reid_losses       its losses
    reid_evaluator    its evaluation: features averaged, ranked and written
    flow              networks of optical flow
    running           a run: train, evaluate, resume; one device, many, or many machines
    controller        its outer loop: progress, evaluations in turns, early stopping
    workers           which machines train together
    stopping          signals that end it at a saved step
    loading           a trained model from the folder of its run
    speed             how fast this machine trains
    cost              what a model costs for each image or frame, counted in its graph
    timing            timing things against each other on a noisy machine
    slim_checkpoints  a run of a TensorFlow 1 checkpoint of the Object Detection API

The task in `tasks/NAME.py` runs settings of the class that `configs/NAME.py` defines, and says so
to tf-models-official's registry.
"""
