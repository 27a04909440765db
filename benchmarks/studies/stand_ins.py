r"""A network that has seen many animals, in the place of one with ImageNet's weights.

    python -m benchmarks.studies.stand_ins --archive=elsewhere --output_dir=embedder

It learns to tell the species of a simulated archive from crops of its boxes, and is written as a
SavedModel that takes crops and returns vectors, as `context-rcnn embedder` writes one. Let the
archive have other species than the cameras on which it is used (`simulate --world=elsewhere`).
"""

import json
import pathlib

import numpy as np
import tensorflow as tf
import tf_keras
from PIL import Image

from benchmarks.record import parser_of

SIZE = 64
DEPTH = 256
_MARGINS = (0.85, 1.25)  # of a crop around its box, as boxes of a detector are off


def read_crops(archive: pathlib.Path, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Square crops [n, SIZE, SIZE, 3], uint8, of all boxes of an archive, and their species."""
    labels = json.loads((archive / "camera_traps.json").read_text())
    boxes: dict[str, list[dict]] = {}
    for annotation in labels["annotations"]:
        if "bbox" in annotation:
            boxes.setdefault(annotation["image_id"], []).append(annotation)
    rng = np.random.default_rng(seed)
    crops, species = [], []
    for image in labels["images"]:
        found = boxes.get(image["id"])
        if not found:
            continue
        with Image.open(archive / "images" / image["file_name"]) as picture:
            for annotation in found:
                x, y, width, height = annotation["bbox"]
                half = max(width, height) / 2 * rng.uniform(*_MARGINS)
                middle = x + width / 2, y + height / 2
                square = [int(c - half) for c in middle] + [int(np.ceil(c + half)) for c in middle]
                crop = picture.crop(square).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
                crops.append(np.asarray(crop))
                species.append(annotation["category_id"])
    return np.stack(crops), np.unique(species, return_inverse=True)[1]


def build_network(classes: int) -> tuple[tf_keras.Model, tf_keras.Model]:
    """The network, crops to vectors, and with its classifier."""
    crops = tf_keras.Input([SIZE, SIZE, 3])
    x = crops / 127.5 - 1.0
    for channels, stride in ((24, 2), (48, 2), (96, 1), (128, 2), (DEPTH, 2)):
        x = tf_keras.layers.Conv2D(channels, 3, stride, padding="same", use_bias=False)(x)
        x = tf_keras.layers.ReLU()(tf_keras.layers.BatchNormalization(momentum=0.95)(x))
    vectors = tf_keras.layers.GlobalAveragePooling2D()(x)
    dropped = tf_keras.layers.Dropout(0.3)(vectors)
    whole = tf_keras.Model(crops, tf_keras.layers.Dense(classes)(dropped))
    return tf_keras.Model(crops, vectors), whole


def train(archive: pathlib.Path, folder: pathlib.Path, epochs: int, seed: int) -> float:
    """Trains the network and writes it; returns its accuracy on crops held out."""
    tf_keras.utils.set_random_seed(seed)
    crops, species = read_crops(archive, seed)
    order = np.random.default_rng(seed).permutation(len(crops))
    held, rest = np.split(order, [len(order) // 10])
    network, whole = build_network(int(species.max()) + 1)
    rows = tf.data.Dataset.from_tensor_slices((crops[rest], species[rest]))

    def varied(crop: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        flipped = tf.image.random_flip_left_right(tf.cast(crop, tf.float32))
        return tf.image.random_brightness(flipped, 25.0), label

    batches = rows.shuffle(len(rest), seed=seed).map(varied).batch(64, drop_remainder=True)
    rate = tf_keras.optimizers.schedules.CosineDecay(2e-3, epochs * (len(rest) // 64))
    whole.compile(
        tf_keras.optimizers.Adam(rate),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    whole.fit(batches.prefetch(2), epochs=epochs, verbose=2)
    accuracy = whole.evaluate(crops[held].astype(np.float32), species[held], verbose=0)[1]

    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, "crops")

    @tf.function(input_signature=[spec], autograph=False)
    def embed(crops: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"vectors": network(crops, training=False)}

    module = tf.Module()
    module.network, module.embed = network, embed
    tf.saved_model.save(module, str(folder), signatures={"serving_default": embed})
    return accuracy


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--archive", type=pathlib.Path, required=True, help="simulated archive")
    parser.add_argument("--output_dir", type=pathlib.Path, required=True, help="folder to write")
    parser.add_argument("--epochs", type=int, default=12, help="passes (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices")
    args = parser.parse_args()
    accuracy = train(args.archive, args.output_dir, args.epochs, args.seed)
    print(f"{args.output_dir}: {accuracy:.1%} of the crops held out are named right")


if __name__ == "__main__":
    main()
