"""What can be set: dataclasses, and the experiments by name.

A YAML file in the folder `configs/` at the top of the repository overrides an experiment's
defaults; `schema.load_experiment` reads one.
"""
