"""The relation module of MEGA in NumPy, in loops over pairs of boxes: an oracle for tests."""

from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A box that is there."""

    feature: np.ndarray  # [depth]
    box: np.ndarray  # y1 x1 y2 x2
    frame: int


def weights_of(layer):
    """Variables by their names below the layer."""
    return {
        v.name.split(f"{layer.name}/", 1)[-1].split(":")[0]: v.numpy().astype(float)
        for v in layer.variables
    }


def log(value, least, released):
    """Relation Networks takes the larger one, MEGA's released code adds."""
    return np.log(value + least if released else max(value, least))


def geometry(box, reference, released):
    (y1, x1, y2, x2), (v1, u1, v2, u2) = map(np.asarray, (box, reference))
    w, h, rw, rh = x2 - x1 + 1, y2 - y1 + 1, u2 - u1 + 1, v2 - v1 + 1
    deltas = [
        log(abs((x1 + x2) / 2 - (u1 + u2) / 2) / w, 1e-3, released),
        log(abs((y1 + y2) / 2 - (v1 + v2) / 2) / h, 1e-3, released),
        np.log(w / rw),
        np.log(h / rh),
    ]
    waves = []
    for delta in deltas:
        angles = [100 * delta / 1000 ** (i / 8) for i in range(8)]
        waves += [np.sin(a) for a in angles] + [np.cos(a) for a in angles]
    return np.array(waves)


def wave(distance, depth):
    angles = [distance / 10000 ** (2 * i / depth) for i in range(depth // 2)]
    return np.array([np.sin(a) for a in angles] + [np.cos(a) for a in angles])


def relate(w, heads, far, asking, seen, released=False):
    """f_rm(asking, seen), [len(asking), depth]."""
    out = []
    for one in asking:
        depth = len(one.feature)
        size = depth // heads
        added = np.zeros(depth)
        query = one.feature @ w["query/kernel"] + w["query/bias"]
        for head in range(heads if seen else 0):
            part = slice(head * size, (head + 1) * size)
            logits, values = [], []
            for other in seen:
                key = (other.feature @ w["key/kernel"] + w["key/bias"])[part]
                logit = query[part] @ key + w["content_bias"][head] @ key
                if "time/kernel" in w:
                    apart = np.clip(int(one.frame) - int(other.frame), -far, far)
                    place = (wave(apart, depth) @ w["time/kernel"])[part]
                    logit += query[part] @ place + w["time_bias"][head] @ place
                logit /= np.sqrt(size)
                if "geometry/kernel" in w:
                    where = geometry(one.box, other.box, released)
                    factor = where @ w["geometry/kernel"][:, head] + w["geometry/bias"][head]
                    logit += log(max(factor, 0), 1e-6, released)
                logits.append(logit)
                value = other.feature @ w["value/kernel"] + w.get("value/bias", np.zeros(depth))
                values.append(value[part])
            share = np.exp(np.array(logits) - max(logits))
            added[part] = (share / share.sum()) @ np.array(values)
        out.append(one.feature + added)
    return np.array(out).reshape(len(asking), -1)
