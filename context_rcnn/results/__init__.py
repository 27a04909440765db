"""What detectors found, written in the formats that people open.

A run appends one line per image to a `journal`, which survives kills and power cuts. `write` reads
a journal and writes any number of formats in one pass, each image at most once, in the order of the
file names: `megadetector`, `coco`, `table` (CSV), `camtrap_dp` and `speciesnet`. Each format is a
file here, with a reader beside its writer. Nothing here knows a model or TensorFlow. The RAM needed
does not grow with the number of images, apart from what docs/formats.md lists.
"""
