"""What libjpeg says of a JPEG while TensorFlow decodes it.

libjpeg says it on stderr alone, without the name of a file, so that is read meanwhile.
"""

import os
import sys
import tempfile
import threading

import tensorflow as tf

_LIBJPEG = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression sequence")
_ONE_AT_A_TIME = threading.Lock()


def complaint(encoded: bytes | tf.Tensor) -> str:
    """Decodes an image as training does; what its library says of damaged data, "" if nothing.

    Whatever else is written meanwhile is written afterwards.

    Raises:
        tf.errors.OpError: If TensorFlow cannot decode it.
    """
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as heard:
        try:
            real = os.dup(2)
        except OSError:  # a program without a console
            real = -1
        try:
            if real >= 0:
                os.dup2(heard.fileno(), 2)
            tf.io.decode_image(encoded, channels=3, expand_animations=False)
        finally:
            if real >= 0:
                os.dup2(real, 2)
                os.close(real)
        heard.seek(0)
        lines = heard.read().decode(errors="replace").splitlines(keepends=True)
    sys.stderr.writelines(line for line in lines if not line.startswith(_LIBJPEG))
    return "; ".join(line.strip() for line in lines if line.startswith(_LIBJPEG))
