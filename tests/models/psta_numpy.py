"""PSTA written again in NumPy from the paper's equations, loops and all, in inference."""

import numpy as np


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def norm(layer, x):
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    return (x - mean) / np.sqrt(variance + layer.epsilon) * layer.gamma.numpy() + layer.beta.numpy()


def block(sequential, x):
    """A convolution, batch norm, and ReLU if there is one; x is [height, width, channels]."""
    conv, bn, *rest = sequential.layers
    kernel = conv.kernel.numpy()
    size, height, width = kernel.shape[0], *x.shape[:2]
    padded = np.pad(x, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    out = np.zeros((height, width, kernel.shape[-1]))
    for y in range(height):
        for z in range(width):
            patch = padded[y : y + size, z : z + size]
            out[y, z] = np.tensordot(patch, kernel, axes=3)
    out = norm(bn, out)
    return relu(out) if rest else out


def blocks(sequential, x):
    for layer in sequential.layers:
        x = block(layer, x)
    return x


def dense(layer, x):
    out = x @ layer.kernel.numpy()
    return out + layer.bias.numpy() if layer.use_bias else out


def excite(sequential, vector):
    first, second = sequential.layers
    return sigmoid(dense(second, relu(dense(first, vector))))


def relation_vectors(theta_ours, phi_theirs, theta_theirs, phi_ours):
    """Equations 8 and 14: for each cell i, r_ij of all j, then r_ji of all j."""
    height, width, depth = theta_ours.shape
    to, tt = theta_ours.reshape(-1, depth), theta_theirs.reshape(-1, depth)
    po, pt = phi_ours.reshape(-1, depth), phi_theirs.reshape(-1, depth)
    n = height * width
    out = np.zeros((n, 2 * n))
    for i in range(n):
        for j in range(n):
            out[i, j] = to[i] @ pt[j]
            out[i, n + j] = tt[j] @ po[i]
    return out.reshape(height, width, 2 * n)


def sra(layer, x, beta):
    theta, phi = block(layer.theta, x), block(layer.phi, x)
    r = block(layer.gamma, relation_vectors(theta, phi, theta, phi))
    space = sigmoid(blocks(layer.space, np.concatenate([r, beta], -1)))
    return space * excite(layer.channel, x.mean((0, 1)))


def tra(layer, x, y, beta_x, beta_y, released):
    """A_t,t+1 and A_t+1,t."""

    def space(ours, theirs, ours_beta, theirs_beta):
        vectors = relation_vectors(
            block(layer.theta, ours),
            block(layer.phi, theirs),
            block(layer.theta, theirs),
            block(layer.phi, ours),
        )
        value = ours_beta
        if released:
            value = block(layer.mix, np.concatenate([ours_beta, theirs_beta], -1))
        return sigmoid(
            blocks(layer.space, np.concatenate([block(layer.gamma, vectors), value], -1))
        )

    spaces = space(x, y, beta_x, beta_y), space(y, x, beta_y, beta_x)
    if released:
        a, b = (relu(dense(layer.embed, m.mean((0, 1)))) for m in (x, y))
        channels = (
            excite(layer.channel, np.concatenate([a, b])),
            excite(layer.channel, np.concatenate([b, a])),
        )
    else:
        a, b = (relu(dense(layer.embed, m)).mean((0, 1)) for m in (x, y))
        both = excite(layer.channel, np.concatenate([a, b]))
        channels = both[: len(both) // 2], both[len(both) // 2 :]
    return spaces[0] * channels[0], spaces[1] * channels[1]


def residual(layer, x, released):
    out = x
    for number, part in enumerate(layer.block.layers):
        out = block(part, out)
        assert (len(part.layers) == 3) == (number < 2)
    return relu(out if released else x + out)


def stam(layer, x, y, *, released=False):
    """Equation 5 of two maps [height, width, channels]."""
    sums = []
    beta_x, beta_y = (blocks(layer.beta, m) if layer.beta else None for m in (x, y))
    if layer.spatial:
        total = sra(layer.spatial, x, beta_x) * x + sra(layer.spatial, y, beta_y) * y
        sums.append(relu(total) if released else total)
    if layer.temporal:
        a, b = tra(layer.temporal, x, y, beta_x, beta_y, released)
        total = a * x + b * y
        sums.append(relu(total) ** 2 if released else total)
    total = sum(sums) if sums else x + y
    return residual(layer.residual, total, released) if layer.residual else total


def pyramid(stages, maps, *, released=False):
    """F^1 ... F^S of the maps [T, height, width, channels] of a clip."""
    features = []
    for stage in stages:
        maps = [
            stam(stage, maps[t], maps[t + 1], released=released) for t in range(0, len(maps), 2)
        ]
        features.append(np.mean([m.mean((0, 1)) for m in maps], axis=0))
    return np.array(features)
