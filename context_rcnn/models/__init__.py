"""One file per paper: how its mechanisms, from `layers`, meet the detector's ports.

`build.build_model` makes the model that the settings ask for.
"""
