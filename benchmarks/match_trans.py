r"""MatchTrans next to warping by optical flow, and how it grows with reach and resolution.

    python -m benchmarks.match_trans
    python -m benchmarks.match_trans --height=368 --width=608 --rounds=7

Both bring a map of 1024 channels from one frame to the next, in turns in one process. MatchTrans
compares the maps. Flow warping first runs a network of FlowNetS's shape (arXiv 1504.06852, weights
at random) on the two images at half of their size, and then samples the map. STMN's authors
measured 2.9 ms and 24.3 ms on a Titan X. Writes what it prints to
benchmarks/results/match_trans.txt.
"""

import context_rcnn  # noqa: F401
from benchmarks.record import Record, parser_of
from context_rcnn.tasks.timing import medians

STRIDE, CHANNELS = 16, 1024
REACHES = (1, 2, 3, 4)
# Channels, kernel and stride of FlowNetS's convolutions, and channels of its deconvolutions.
CONTRACTING = ((64, 7, 2), (128, 5, 2), (256, 5, 2), (256, 3, 1), (512, 3, 2), (512, 3, 1))
CONTRACTING += ((512, 3, 2), (512, 3, 1), (1024, 3, 2), (1024, 3, 1))
EXPANDING = (512, 256, 128, 64)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--height", type=int, default=368, help="image height (default: 368)")
    parser.add_argument("--width", type=int, default=608, help="image width (default: 608)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default: 7)")
    args = parser.parse_args()

    import tensorflow as tf

    from context_rcnn.layers.match_trans import match_coefficients, transform

    cells = [args.height // STRIDE, args.width // STRIDE]
    maps = [tf.nn.relu(tf.random.normal([1, *cells, CHANNELS])) for _ in range(3)]
    images = [tf.random.uniform([1, args.height, args.width, 3]) for _ in range(2)]
    network = flow_network(args.height // 2, args.width // 2)

    @tf.function
    def match(now, before, memory, reach=2):
        return transform(memory, match_coefficients(now, before, reach=reach))

    @tf.function
    def warp(now, before, memory):
        pair = tf.concat(
            [tf.nn.avg_pool2d(image, 2, 2, "SAME") for image in (now, before)], axis=-1
        )
        flow = tf.image.resize(network(pair), cells)
        return sample(memory, flow)

    functions = {
        "MatchTrans": lambda: match(*maps).numpy(),
        "flow network and warping": lambda: warp(*images, maps[2]).numpy(),
        "warping alone": lambda: sample(maps[2], tf.zeros([1, *cells, 2])).numpy(),
    }
    record = Record(
        f"images of {args.height}x{args.width}, maps of {cells[0]}x{cells[1]}x{CHANNELS}"
    )
    record.say(f"{'':26} {'ms':>8} {'+-':>7}")
    for name, (median, spread) in medians(functions, rounds=args.rounds).items():
        record.say(f"{name:26} {1000 * median:8.1f} {1000 * spread:7.1f}")
    record.say("")
    record.say("reach of MatchTrans: time next to reach 1, and cells looked at next to reach 1")
    record.say(f"{'reach':>5} {'ms':>8} {'+-':>7} {'times':>6} {'cells':>6}")
    reaches = {str(k): lambda k=k: match(*maps, reach=k).numpy() for k in REACHES}
    times = medians(reaches, rounds=args.rounds)
    for k in REACHES:
        median, spread = times[str(k)]
        share = median / times[str(REACHES[0])][0], (2 * k + 1) ** 2 / (2 * REACHES[0] + 1) ** 2
        record.say(
            f"{k:5} {1000 * median:8.1f} {1000 * spread:7.1f} {share[0]:6.2f} {share[1]:6.2f}"
        )
    record.say("")
    record.say("largest tensor of MatchTrans and its gradients, MiB, besides maps of all channels")
    record.say(f"{'map':>12} {'cells':>7} {'25 a cell':>10} {'found':>8} {'cells x cells':>14}")
    for height, width in ((12, 16), (23, 38), (38, 63), (76, 126)):
        count = height * width
        found = largest_besides_maps(height, width)
        of_pairs = count * count * 4
        record.say(
            f"{f'{height}x{width}':>12} {count:7} {_mib(25 * count * 4):>10} {_mib(found):>8} "
            f"{_mib(of_pairs):>14}"
        )
    record.keep("match_trans")


def flow_network(height: int, width: int):
    """A network of FlowNetS's shape, from two images to flow at a quarter of their size."""
    import tf_keras

    layers = tf_keras.layers
    x = inputs = layers.Input([height, width, 6])
    kept = []
    for filters, kernel, stride in CONTRACTING:
        if stride == 2:
            kept.append(x)
        x = layers.Conv2D(filters, kernel, stride, padding="same", activation="relu")(x)
    for filters, skip in zip(EXPANDING, reversed(kept[2:]), strict=True):
        flow = layers.Conv2D(2, 3, padding="same")(x)
        up = layers.Conv2DTranspose(filters, 4, 2, padding="same", activation="relu")(x)
        flow = layers.Conv2DTranspose(2, 4, 2, padding="same")(flow)
        sizes = skip.shape[1], skip.shape[2]
        x = layers.Concatenate()([skip, *(y[:, : sizes[0], : sizes[1]] for y in (up, flow))])
    return tf_keras.Model(inputs, layers.Conv2D(2, 3, padding="same")(x))


def sample(cells, flow):
    """A map [1, height, width, channels] sampled bilinearly at places moved by a flow, y x."""
    import tensorflow as tf

    height, width = cells.shape[1:3]
    rows, columns = tf.meshgrid(tf.range(height), tf.range(width), indexing="ij")
    at = tf.cast(tf.stack([rows, columns], axis=-1), tf.float32) + flow[0]
    at = tf.clip_by_value(at, 0.0, [height - 1.0, width - 1.0])
    start = tf.floor(at)
    share, start = at - start, tf.cast(start, tf.int32)
    total = tf.zeros_like(cells[0])
    for i in (0, 1):
        for j in (0, 1):
            place = tf.minimum(start + [i, j], [height - 1, width - 1])
            weights = [
                share[..., axis] if step else 1.0 - share[..., axis]
                for axis, step in enumerate((i, j))
            ]
            total += (weights[0] * weights[1])[..., None] * tf.gather_nd(cells[0], place)
    return total[None]


def largest_besides_maps(height: int, width: int, channels: int = 64) -> int:
    """Bytes of the largest tensor in MatchTrans's gradient that has not the size of a map."""
    import tensorflow as tf

    from context_rcnn.layers.match_trans import match_coefficients, transform

    @tf.function
    def gradient(now, before, memory):
        with tf.GradientTape() as tape:
            tape.watch([now, before, memory])
            loss = tf.reduce_sum(transform(memory, match_coefficients(now, before)) ** 2)
        return tape.gradient(loss, [now, before, memory])

    given = [tf.TensorSpec([1, height, width, channels])] * 3
    graph = gradient.get_concrete_function(*given).graph
    sizes = [
        output.shape.num_elements() * output.dtype.size
        for operation in graph.get_operations()
        for output in operation.outputs
        if output.shape.rank and output.shape[-1] != channels and output.shape.num_elements()
    ]
    return max(sizes)


def _mib(count: int) -> str:
    return f"{count / 2**20:.2f}"


if __name__ == "__main__":
    main()
