"""The memory of a camera: the stored entries, their selection, and the window of a keyframe.

From storing to using:

    entries          the entries of one camera in RAM
    encoding         where and when an entry was seen, as nine floats
    tensor_encoding  the same for tensors, where a memory grows inside a compiled model
    sampling         ways to choose k of n: evenly spaced, far apart, a budget shared out
    curation         which boxes of a frame and which frames of a camera are stored
    features         storage dtypes of features
    wire             tf.Example and TFRecord as bytes, without TensorFlow
    records          a run of a camera's entries as one record
    manifest         the description of a bank
    files            the file operations that writing needs
    writer           writing banks, completely or not at all, and recovering them
    store            reading, in place where the file allows it
    stored_images    stores of images: banks of all that a detector sees, to learn a memory on
    maintenance      verify, merge, prune, delete and inspect a bank
    window           the part of a camera's bank that belongs to a keyframe
    join             windows as tensors, in tf.data
    buffers          memory for windows
    api_compat       to and from the Object Detection API's examples
    api_sequences    its sequence examples
    api_files        the same for whole files

A bank is a folder with `manifest.json` and `bank-00000-of-00016.tfrecord`, ... Each camera lies in
one of the files, as one record or several. Only `join`, `tensor_encoding` and `api_*` import
TensorFlow, and plain TensorFlow reads a bank without any of this:

    import tensorflow as tf

    files = sorted(tf.io.gfile.glob(f"{folder}/bank-*.tfrecord"))
    keys = ["bank/camera", "bank/seconds", "bank/boxes", "bank/features"]
    spec = {key: tf.io.FixedLenFeature([], tf.string) for key in keys}
    for record in tf.data.TFRecordDataset(files):
        segment = tf.io.parse_single_example(record, spec)
        seconds = tf.io.decode_raw(segment["bank/seconds"], tf.int64)
        boxes = tf.reshape(tf.io.decode_raw(segment["bank/boxes"], tf.float32), [-1, 4])
        features = tf.io.decode_raw(segment["bank/features"], tf.float16)
        features = tf.reshape(features, [tf.size(seconds), -1])
        print(segment["bank/camera"].numpy().decode(), seconds.shape, features.shape)

Models, detectors and Beam are not known here.
"""
