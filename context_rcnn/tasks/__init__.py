"""What is learned, one file per task, and the loop around it.

    task        what `running`, `loading` and the compile check need from a task
    detection   detectors, with a memory or without; `inputs` and `evaluator` are its parts
    running     the loop: train, evaluate, resume; one device, many, or many machines
    loading     a trained model from the folder of its run
    slim_checkpoints  a run of a TensorFlow 1 checkpoint of the Object Detection API

Settings of the class `configs/NAME.py` defines are run by the task of `tasks/NAME.py`, which says
so to tf-models-official's registry.
"""
