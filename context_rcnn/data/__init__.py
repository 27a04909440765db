"""From a camera archive to tf.Example records, and nothing about models.

`readers` turn public layouts into `ImageRecord`s, one file per layout, and list them in one table;
`archive` joins them with splits and a label map, and with the boxes of another detector; `prepare`
turns one record into a checked image with upright boxes or a named failure; `examples` writes and
parses the tf.Example, and `input`, `clips` and `videos` make batches of it. Only these, and what
they alone use, import TensorFlow, so that everything else starts fast.
"""
