"""A model of tracklets as a SavedModel that needs TensorFlow alone.

EXPORT/saved_model/   signatures `serving_default` (clips to features) and `activations`
EXPORT/params.yaml    the experiment
EXPORT/model_card.json, model_card.md   its card
EXPORT/model.json     what the model is; also inside the SavedModel
"""

import functools
import json
import os
import types
from typing import Any

import tensorflow as tf

import context_rcnn
from context_rcnn.configs import schema
from context_rcnn.export import card
from context_rcnn.export.embedder import DESCRIPTION, FORMAT, FORMAT_VERSION, SAVED_MODEL
from context_rcnn.export.extractor import fingerprint
from context_rcnn.export.functions import save
from context_rcnn.models.psta import Psta
from context_rcnn.tasks.loading import Trained


class ServedEmbedder(tf.Module):
    """What an exported model can be asked.

    Args:
        model: the model.
        description: what it is, `model.json`.
    """

    def __init__(self, model: Psta, description: dict[str, Any]):
        super().__init__(name="served_embedder")
        self.description = tf.Variable(json.dumps(description), trainable=False)
        # Weights are saved, but not layers, which Keras would trace once more, one by one.
        self._untracked = types.SimpleNamespace(model=model)
        self._weights = [*model.variables]
        spec = tf.TensorSpec([None, *model.clip_shape], tf.uint8, name="clips")
        function = functools.partial(tf.function, input_signature=[spec], autograph=False)
        self.embed = function(lambda clips: self._model.embed(clips))
        self.activations = function(lambda clips: self._model.activations(clips))
        self._serve = function(lambda clips: {"features": self.embed(clips)})
        self._show = function(lambda clips: {"activations": self.activations(clips)})

    @property
    def _model(self) -> Psta:
        return self._untracked.model

    def functions(self) -> dict[str, Any]:
        """The signatures of the SavedModel."""
        return {
            "serving_default": self._serve.get_concrete_function(),
            "activations": self._show.get_concrete_function(),
        }


def export_reid(trained: Trained, output_dir: str, *, told: str = "") -> dict[str, Any]:
    """Exports a model of tracklets; returns its description.

    Args:
        trained: the model.
        output_dir: folder to write.
        told: file with what a person says of the model, for its card.
    """
    said = card.read_told(told)
    config, model = trained.config, trained.model
    settings: Any = config.task.model
    prepares = {"frames": settings.frames, "image_size": list(settings.image_size)}
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": config.name,
        "version": context_rcnn.__version__,
        "hash": fingerprint(model, prepares),
        **prepares,
        "depth": settings.channels,
    }
    path = os.path.join(output_dir, DESCRIPTION)
    if tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)  # what stands there is no model until all of it is written
    served = ServedEmbedder(model, description)
    saved_model = os.path.join(output_dir, SAVED_MODEL)
    save(served, saved_model, served.functions())
    schema.save_experiment(config, os.path.join(output_dir, "params.yaml"))
    card.write_card(output_dir, description, trained, said)
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump(description, file, indent=1)
    return description
