"""What detectors found, written in the formats that people open.

A run appends one line an image to a `journal`, which survives kills and power cuts. `write` reads a
journal and writes any number of formats in one pass, each image at most once, in the order of the
file names: `megadetector`, `coco`, `table` (CSV), `camtrap_dp` and `speciesnet`, a file each, with
a reader beside every writer. Nothing here knows a model or TensorFlow, and nothing grows with the
number of images but what docs/formats.md says.
"""
