"""From a camera archive to tf.Example records, and nothing about models.

Readers (`coco_camera_traps`, `image_folder`, `citycam`, `megadetector`) turn public layouts into
`ImageRecord`s; `archive` joins them with splits and a label map; `prepare` turns one record into a
checked image with upright boxes or a named failure; `examples` writes and parses the tf.Example.
Only `examples` imports TensorFlow, so that everything else starts fast.
"""
