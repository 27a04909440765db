"""Networks of tf_keras.applications as embedders."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn.detectors.embedder import load_embedder
from context_rcnn.export import networks


def test_an_unknown_network_is_refused_with_those_that_there_are(tmp_path):
    with pytest.raises(ValueError, match="--network Mobile: there are .*, MobileNetV2, "):
        networks.export_network("Mobile", str(tmp_path))


@pytest.mark.slow
def test_crops_become_the_networks_averaged_features(tmp_path):
    tf_keras.utils.set_random_seed(0)
    depth = networks.export_network("MobileNetV2", str(tmp_path), weights="none", size=32)
    tf_keras.utils.set_random_seed(0)
    network = tf_keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    crops = np.random.default_rng(0).uniform(0, 255, [2, 32, 32, 3]).astype(np.float32)
    expected = network(crops / 127.5 - 1).numpy().mean(axis=(1, 2))
    function, spec = load_embedder(str(tmp_path))
    (found,) = function(**{spec.name: tf.constant(crops)}).values()
    assert found.shape == (2, depth)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
