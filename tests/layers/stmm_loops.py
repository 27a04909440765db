"""STMN's module in NumPy, written from the paper in loops over cells: an oracle for tests."""

import numpy as np


def squash(x, variant="paper", k=3.0, inside=None):
    """BN* of one map [height, width, channels] or of any array."""
    x = np.asarray(x, float)
    counted = x[inside] if inside is not None else x
    if variant == "paper":
        upper = counted.mean() + k * counted.std()
    else:
        positive = counted[counted > 0]
        upper = 1.0 if positive.size < 2 else positive.mean() + k * positive.std(ddof=1)
    return np.minimum(x / upper, 1.0) if upper > 0 else np.zeros_like(x)


def gamma(now, before, reach=2, variant="paper", inside=None, sharpness=0):
    """Coefficients [height, width, side, side] of two maps [height, width, depth]."""
    height, width, _ = now.shape
    side = 2 * reach + 1
    out = np.zeros((height, width, side, side))
    for y in range(height):
        for x in range(width):
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    if not (0 <= y + i < height and 0 <= x + j < width):
                        continue
                    if inside is not None and not inside[y + i, x + j]:
                        continue
                    a, b = now[y, x], before[y + i, x + j]
                    affinity = float(a @ b)
                    if variant == "released" or sharpness:
                        lengths = np.linalg.norm(a) * np.linalg.norm(b)
                        affinity = max(affinity / lengths, 0.0) if lengths else 0.0
                    if sharpness:
                        affinity = affinity**sharpness
                    out[y, x, i + reach, j + reach] = affinity
            total = out[y, x].sum()
            if total > 0:
                out[y, x] /= total
            else:
                out[y, x, reach, reach] = 1.0
    return out


def moved(memory, coefficients):
    """M' of a memory [height, width, channels]."""
    height, width, _ = memory.shape
    reach = coefficients.shape[2] // 2
    out = np.zeros_like(memory, float)
    for y in range(height):
        for x in range(width):
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    if 0 <= y + i < height and 0 <= x + j < width:
                        weight = coefficients[y, x, i + reach, j + reach]
                        out[y, x] += weight * memory[y + i, x + j]
    return out


def conv(x, kernel):
    """Convolution [height, width, in] with a kernel [k, k, in, out], zeros around."""
    size = kernel.shape[0]
    height, width, _ = x.shape
    padded = np.pad(x, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    out = np.zeros((height, width, kernel.shape[3]))
    for y in range(height):
        for w in range(width):
            patch = padded[y : y + size, w : w + size]
            out[y, w] = np.tensordot(patch, kernel, axes=3)
    return out


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def run(
    weights,
    frames,
    *,
    variant="paper",
    unit="stmm",
    match=True,
    start="features",
    there=None,
    inside=None,
    reach=2,
    sharpness=0,
):
    """Memories after each frame; `weights` are W_z, W_r, W, b_z, b_r, b, U_z, U_r, U by name."""
    w = {name: np.asarray(value, float) for name, value in weights.items()}
    factor = 20.0 if variant == "released" else 1.0
    there = [True] * len(frames) if there is None else there
    memory, before, before_inside, out = None, None, None, []
    for t, (frame, is_there) in enumerate(zip(np.asarray(frames, float), there, strict=True)):
        if not is_there:
            out.append(memory)
            continue
        own = None if inside is None else inside[t]
        now = {g: factor * (conv(frame, w["W" + g]) + w["b" + g]) for g in ("_z", "_r", "")}
        act = np.tanh if unit == "conv_gru" else lambda x: np.maximum(x, 0)

        def gate(x, own=own):
            if unit == "conv_gru":
                return sigmoid(x)
            return squash(np.maximum(x, 0), variant, inside=own)

        if memory is None:
            memory = act(now[""]) * (start == "features")
        elif match:
            shares = gamma(frame, before, reach, variant, before_inside, sharpness)
            memory = moved(memory, shares)
        z = gate(now["_z"] + conv(memory, w["U_z"]))
        r = gate(now["_r"] + conv(memory, w["U_r"]))
        candidate = act(now[""] + conv(memory * r, w["U"]))
        memory = (1 - z) * memory + z * candidate
        before, before_inside = frame, own
        out.append(memory)
    return out
