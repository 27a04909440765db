"""Tables of numbers in MATLAB's files, as MARS and iLIDS-VID have them."""

from pathlib import Path

import numpy as np


def read_matrix(path: Path, name: str) -> np.ndarray:
    """A matrix of whole numbers, int64.

    Args:
        path: a `.mat` file, by MATLAB 5 or later, not of version 7.3.
        name: name of the variable in it.

    Raises:
        ValueError: Naming the file, where it is missing, not a MATLAB file, or without the matrix.
    """
    import scipy.io
    from scipy.io.matlab import MatReadError

    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        values = scipy.io.loadmat(path, variable_names=[name]).get(name)
    except (MatReadError, ValueError, TypeError, OSError, NotImplementedError) as error:
        raise ValueError(f"{path}: cannot be read as a MATLAB file: {error}") from None
    if values is None:
        raise ValueError(f"{path}: has no variable {name!r}")
    values = np.asarray(values)
    if values.ndim != 2 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise ValueError(f"{path}: {name} must be a matrix of numbers, is {values.dtype}")
    if (values != np.round(values)).any():
        raise ValueError(f"{path}: {name} must hold whole numbers")
    return values.astype(np.int64)
