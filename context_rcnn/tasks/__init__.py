"""What is learned, one file per task, and the loop around it.

    task              what `running`, `loading` and the compile check need from a task
    detection         detectors, with a memory or without; parts: `inputs`, `features`, `evaluator`
    reid              re-identification; its parts are `reid_losses` and `reid_evaluator`
    running           a run: train, evaluate, resume; one device, many, or many machines
    controller        its outer loop: progress, evaluations in turns, early stopping
    loading           a trained model from the folder of its run
    speed             how fast this machine trains
    slim_checkpoints  a run of a TensorFlow 1 checkpoint of the Object Detection API

The task in `tasks/NAME.py` runs settings of the class that `configs/NAME.py` defines, and says so
to tf-models-official's registry.
"""
