"""One file per paper: how its mechanisms, from `layers`, meet the detector's ports.

`temporal.make` makes the memory that the settings name, `temporal.build` the detector with it.
"""
