"""Storage dtypes of features: what is written, and how it becomes float32 again.

float32   as computed
float16   relative error 2**-11 an element; at most 65504; what is below 2**-14 becomes 0
bfloat16  relative error 2**-8 an element; the range of float32; the fastest to read
int8      a quarter of the size; each entry has its own scale, its largest element becomes 127
"""

from collections.abc import Sequence
from typing import Literal

import ml_dtypes
import numpy as np

StorageDtype = Literal["float32", "float16", "bfloat16", "int8"]
DTYPES: dict[str, np.dtype] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "int8": np.dtype("int8"),
}

_CHUNK_ROWS = 64  # rows that stay in the processor's cache until they are converted
# Of a float32 that has the bits of a float16 in their places: all but copies of the sign, and what
# is between the offsets of the two exponents.
_HALF_BITS = np.int32(-0x70000001)
_HALF_SCALE = np.float32(2.0**112)


def storage_dtype(name: str) -> np.dtype:
    if name not in DTYPES:
        raise ValueError(f"dtype {name!r}: must be one of {', '.join(DTYPES)}")
    return DTYPES[name]


def quantise(features: np.ndarray, dtype: StorageDtype) -> tuple[np.ndarray, np.ndarray | None]:
    """Features [n, D] in a storage dtype, and for int8 the scale [n] float32 of each entry.

    What does not fit the dtype becomes infinite, which the writer refuses by name.
    """
    target = storage_dtype(dtype)
    if dtype != "int8":
        with np.errstate(over="ignore"):
            values = np.asarray(features).astype(target)
        if dtype == "float16":
            # Numbers without a leading one are read differently by threads that take them for 0,
            # which TensorFlow's do.
            bits = values.view(np.uint16)
            bits[(bits & 0x7C00) == 0] = 0
        return values, None
    features = np.asarray(features, np.float32)
    scales = np.abs(features).max(axis=1, initial=0) / np.float32(127)
    with np.errstate(invalid="ignore"):
        rounded = np.rint(features / np.where(scales > 0, scales, 1)[:, None])
        return np.clip(rounded, -127, 127).astype(np.int8), scales


class Gathered:
    """Rows of arrays, in any order, that stay where they are until they are asked for.

    It stands for an array [n, D] where a camera may have more entries than fit into memory: parts
    of it are `Gathered` again, and become arrays with `np.asarray`.
    """

    ndim = 2

    def __init__(self, blocks: Sequence[np.ndarray], rows: np.ndarray | None = None):
        """
        Args:
            blocks: [n_i, D] arrays of one dtype, possibly mapped from files; one at least.
            rows: positions in all blocks together; None for all in their order.
        """
        self._blocks = list(blocks)
        self._starts = np.cumsum([0, *(len(block) for block in self._blocks)])
        self._rows = np.arange(self._starts[-1]) if rows is None else rows
        self.dtype = self._blocks[0].dtype

    @classmethod
    def joined(cls, parts: Sequence["np.ndarray | Gathered"]) -> "Gathered":
        """The rows of all parts, one part after the other."""
        blocks: list[np.ndarray] = []
        rows, start = [], 0
        for part in parts:
            part = part if isinstance(part, Gathered) else Gathered([part])
            blocks += part._blocks
            rows.append(part._rows + start)
            start += int(part._starts[-1])
        return cls(blocks, np.concatenate(rows))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._rows), self._blocks[0].shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, which: np.ndarray | slice) -> "Gathered":
        return Gathered(self._blocks, self._rows[which])

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        found = np.empty(self.shape, self.dtype)
        of_block = np.searchsorted(self._starts, self._rows, side="right") - 1
        for number in np.unique(of_block):
            mine = np.flatnonzero(of_block == number)
            found[mine] = self._blocks[number][self._rows[mine] - self._starts[number]]
        return found if dtype is None else found.astype(dtype, copy=False)


class StoredFeatures:
    """Features of one camera as they lie in its records, read as float32."""

    def __init__(self, blocks: Sequence[np.ndarray], scales: np.ndarray | None):
        """
        Args:
            blocks: [n_i, D] arrays in storage dtype, possibly mapped from a file; one at least.
            scales: [sum of n_i] float32 for int8, else None.
        """
        self.blocks = list(blocks)
        self.scales = scales
        self.depth = self.blocks[0].shape[1]
        self._starts = np.cumsum([0, *(len(block) for block in self.blocks)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Features [len(indices), D] as float32.

        Runs of neighbours are converted straight from where they are stored to `out`.

        Args:
            indices: [k] ascending positions.
            out: array to write to; may be part of a wider array. None for a new array.
        """
        if out is None:
            out = np.empty([len(indices), self.depth], np.float32)
        edges = np.searchsorted(indices, self._starts)
        for number, block in enumerate(self.blocks):
            first, last = edges[number], edges[number + 1]
            if first < last:
                inside = indices[first:last]
                self._read_block(block, inside, self._starts[number], out[first:last])
        return out

    def _read_block(
        self, block: np.ndarray, indices: np.ndarray, start: int, out: np.ndarray
    ) -> None:
        local = indices - start
        if is_run(local):
            self._convert(block[local[0] : local[-1] + 1], indices, out)
            return
        for chunk in range(0, len(local), _CHUNK_ROWS):
            part = slice(chunk, chunk + _CHUNK_ROWS)
            self._convert(block[local[part]], indices[part], out[part])

    def _convert(self, rows: np.ndarray, indices: np.ndarray, out: np.ndarray) -> None:
        rows = np.asarray(rows)
        if self.scales is not None:
            np.multiply(rows, self.scales[indices][:, None], out=out)
        elif rows.dtype == np.float16:
            _widen_half(rows, out)
        else:
            np.copyto(out, rows, casting="unsafe")

    def mapped(self, indices: np.ndarray) -> tuple[Gathered, np.ndarray | None]:
        """As `stored`, but the features stay where they are."""
        gathered = Gathered(self.blocks, indices)
        return gathered, None if self.scales is None else self.scales[indices]

    def stored(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Features in storage dtype [k, D], and their scales, unchanged."""
        edges = np.searchsorted(indices, self._starts)
        parts = [
            block[indices[edges[i] : edges[i + 1]] - self._starts[i]]
            for i, block in enumerate(self.blocks)
        ]
        return np.concatenate(parts), None if self.scales is None else self.scales[indices]


def _widen_half(rows: np.ndarray, out: np.ndarray) -> None:
    """Finite float16 rows to float32, bit for bit, twice as fast as NumPy's own conversion.

    Sign, exponent and fraction are moved to their places; the exponent is then 112 too small.
    """
    buffer = np.empty([min(len(rows), _CHUNK_ROWS), rows.shape[1]], np.float32)
    for start in range(0, len(rows), _CHUNK_ROWS):
        chunk = rows[start : start + _CHUNK_ROWS]
        floats = buffer[: len(chunk)]
        bits = floats.view(np.int32)
        # To the upper half of a float32: the fastest way that NumPy has to do it.
        np.copyto(floats, chunk.view(ml_dtypes.bfloat16), casting="unsafe")
        np.right_shift(bits, 3, out=bits)
        np.bitwise_and(bits, _HALF_BITS, out=bits)
        np.multiply(floats, _HALF_SCALE, out=out[start : start + _CHUNK_ROWS])


def is_run(indices: np.ndarray) -> bool:
    """Whether strictly ascending indices have no gap."""
    return int(indices[-1]) - int(indices[0]) + 1 == len(indices)


def first_not_finite(values: np.ndarray) -> int | None:
    """The first row that holds a NaN or an infinity, None if there is none."""
    if values.dtype == np.int8:
        return None
    for chunk in range(0, len(values), _CHUNK_ROWS):
        rows = np.asarray(values[chunk : chunk + _CHUNK_ROWS])
        finite = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        if not finite.all():
            return chunk + int(np.argmin(finite))
    return None
