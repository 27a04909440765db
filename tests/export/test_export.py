"""An exported model gives what the trained one gives, in a fresh process with TensorFlow alone.

What it is compared with is put together here from the trained model's own parts.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.saved_model import loader_impl

from benchmarks.ceiling.detections import load_detector
from context_rcnn.configs import schema
from context_rcnn.data import input as input_lib
from context_rcnn.data.label_map import read_label_map
from context_rcnn.export import export as export_lib
from context_rcnn.export.exported import ExportedModel
from context_rcnn.export.extractor import prepare_images
from context_rcnn.models.context_rcnn.attention import detect_with_attention
from context_rcnn.models.context_rcnn.stream import ContextStream
from context_rcnn.models.streaming import Frame
from context_rcnn.tasks.detection import DetectionTask

SECONDS = 1_500_000_000 + np.array([0, 1, 90_000, 90_001])  # a day and more before the third
NAMES = ("boxes", "scores", "classes")


def prepare(encoded, keep_aspect_ratio=True):
    """Images as the network wants them, one by one."""
    made = [
        input_lib.resize(
            tf.io.decode_image(image, channels=3, expand_animations=False),
            (64, 96),
            keep_aspect_ratio,
        )
        for image in encoded
    ]
    images, shapes = zip(*made, strict=True)
    return tf.stack(images), tf.stack(shapes)


def detect(model, encoded, memory=None):
    """What the trained model finds, boxes as fractions of the image."""
    images, shapes = prepare(encoded)
    found = model(images, shapes, memory=memory, training=False)
    return normalised(found, shapes)


def normalised(found, shapes):
    found = {name: found[f"detection_{name}"].numpy() for name in NAMES}
    found["boxes"] = found["boxes"] / np.tile(shapes, 2)[:, None]
    return found


def memory_of(entries, rows=slice(None)):
    features, size = entries
    return {
        "context_features": tf.constant(features[rows]),
        "context_valid": tf.constant(np.arange(5) < size[rows, None]),
    }


def assert_same(found, expected, **tolerance):
    assert (np.asarray(found["scores"]) >= 0).any(), "there is nothing to compare"
    for name in NAMES:
        tolerance = {"atol": 1e-4, **tolerance}
        np.testing.assert_allclose(found[name], expected[name], err_msg=name, **tolerance)


def differ(found, other):
    return np.abs(np.asarray(found["scores"]) - np.asarray(other["scores"])).max() > 1e-3


FRESH = """
import json, sys
import numpy as np, tensorflow as tf

folder, extractor, inputs = sys.argv[1:]
inputs = dict(np.load(inputs))
images = tf.constant([inputs.pop(f"image{i}").tobytes() for i in range(3)])
model = tf.saved_model.load(folder)
outputs = {"description": model.description.numpy()}

def keep(prefix, found):
    outputs.update({f"{prefix}/{name}": value.numpy() for name, value in found.items()})

features, size = inputs["features"], inputs["size"]
keep("detect", model.detect(images))
keep("default", model(images))
keep("default_with_context", model(images, features, size))
keep("detect_with_context", model.detect_with_context(images, features, size))
projected = model.project(features[:1])
keep("project", projected)
keep("detect_with_projected", model.detect_with_projected(
    images, projected["context_keys"], projected["context_values"], np.arange(5) < size[:, None]))
keep("extract", model.extract(images))
extractor = tf.saved_model.load(extractor)
keep("extractor", extractor.extract(images))
state = model.initial_state(2)
for i, image in enumerate(inputs["frames"]):
    found, state = model.step(
        tf.stack([images[image], images[2]]), [7, i % 2], [True, i != 2],
        [inputs["seconds"][i]] * 2, state)
    keep(f"step{i}", found)
for name, function in model.signatures.items():
    keep(f"inputs/{name}", {n: tf.constant(s.dtype.name)
                            for n, s in function.structured_input_signature[1].items()})
assert not {"context_rcnn", "official", "tf_keras"} & set(sys.modules)
np.savez(inputs["output"].item(), **outputs)
"""


@pytest.fixture(scope="module")
def fresh(export, frozen, photographs, entries, tmp_path_factory):
    """What a process without any code of ours gets from the SavedModel, by function and output."""
    folder = tmp_path_factory.mktemp("fresh")
    np.savez(
        folder / "inputs.npz",
        features=entries[0],
        size=entries[1],
        frames=[0, 1, 2, 0],
        seconds=SECONDS,
        output=str(folder / "outputs.npz"),
        **{f"image{i}": np.frombuffer(image, np.uint8) for i, image in enumerate(photographs)},
    )
    models = f"{export.folder}/saved_model", frozen.folder
    result = subprocess.run(
        [sys.executable, "-c", FRESH, *models, folder / "inputs.npz"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    with np.load(folder / "outputs.npz") as file:
        return dict(file)


def of(fresh, function):
    found = {name: fresh[f"{function}/detection_{name}"] for name in NAMES}
    return found


def test_a_fresh_process_detects_what_the_trained_model_detects(fresh, run, photographs, entries):
    alone = detect(run.model, photographs)
    assert_same(of(fresh, "detect"), alone)
    remembering = detect(run.model, photographs, memory_of(entries))
    assert_same(of(fresh, "detect_with_context"), remembering)
    assert differ(remembering, alone)


def test_a_fresh_process_projects_and_detects_with_what_it_projected(
    fresh, run, photographs, entries
):
    features, size = entries
    projected = run.model.box_memory.project(features[:1], tf.ones([1, 5], tf.bool))
    for name in ("context_keys", "context_values"):
        np.testing.assert_allclose(fresh[f"project/{name}"], projected[name], rtol=1e-5, atol=1e-4)
    # One camera's memory, another window for each frame.
    shared = memory_of((features[[0, 0, 0]], size))
    assert_same(of(fresh, "detect_with_projected"), detect(run.model, photographs, shared))


def test_a_fresh_process_extracts_what_the_extractor_extracts(fresh, frozen, photographs):
    """The model's part of that name, and the extractor that was saved alone."""
    for name, expected in frozen.extractor.extract(tf.constant(photographs)).items():
        for function in ("extract", "extractor"):
            np.testing.assert_allclose(
                fresh[f"{function}/{name}"], expected, rtol=1e-4, atol=1e-4, err_msg=name
            )


def test_a_fresh_process_steps_like_the_stream(fresh, run, frozen, photographs):
    """Two cameras: the second one changes with every frame and has none in the third."""
    options = {"capacity": 4, "horizon": "day", "top_k": 1}
    stretched = {}
    stream = ContextStream(
        run.model, lambda _: frozen.extractor.extract_from_images(*stretched["now"]), **options
    )
    state, seen = stream.initial_state(2), []
    for i, image in enumerate([0, 1, 2, 0]):
        encoded = [photographs[image], photographs[2]]
        stretched["now"] = prepare(encoded, keep_aspect_ratio=False)
        images, shapes = prepare(encoded)
        frame = Frame(
            images,
            shapes,
            tf.constant([7, i % 2], tf.int64),
            tf.constant([True, i != 2]),
            seconds=tf.constant([SECONDS[i]] * 2, tf.int64),
        )
        found, state = stream.step(frame, state)
        seen.append(normalised(found, shapes))
        assert_same(of(fresh, f"step{i}"), seen[-1])
    assert (of(fresh, "step2")["scores"][1] == -1).all()
    assert differ(seen[3], seen[0]), "the same image, after others"


def test_the_model_inside_says_what_it_is(fresh, export, run, frozen):
    description = json.loads(fresh["description"].item())
    assert description == export.description
    with open(f"{export.folder}/model.json") as file:
        assert json.load(file) == description
    assert description["classes"] == {"1": "bobcat", "2": "coyote", "3": "deer"}
    assert (description["image_size"], description["keep_aspect_ratio"]) == ([64, 96], True)
    assert description["extractor"]["hash"] == frozen.hash
    assert description["memory"] == {
        "entry_size": frozen.depth + 9,
        "depth": 16,
        "blocks": 2,
        "encoding_variant": "paper",
        "horizon": "day",
        "calendar": False,
        "causal": False,
        "include_keyframe": True,
        "policy": "nearest",
        "max_entries": 4,
        "top_k": None,
    }
    assert description["short_term_window"] == 3
    assert description["format"] == "context-rcnn-model" and description["format_version"] == 1


def test_the_folder_has_the_experiment_the_labels_and_the_weights(export, run):
    assert read_label_map(f"{export.folder}/label_map.pbtxt") == {
        "bobcat": 1,
        "coyote": 2,
        "deer": 3,
    }
    config = schema.load_experiment(config_files=[f"{export.folder}/params.yaml"])
    assert config.as_dict() == run.config.as_dict()
    assert os.path.exists(f"{export.folder}/checkpoint/ckpt-0.index")
    weights = tf.train.load_checkpoint(f"{export.folder}/checkpoint")
    stored = [weights.get_tensor(name) for name in weights.get_variable_to_shape_map()]
    some = run.model.trainable_variables[0].numpy()
    assert any(np.array_equal(some, value) for value in stored)


def test_the_page_has_every_field_of_the_description(export):
    page = (pathlib.Path(__file__).parents[2] / "docs/serving.md").read_text(encoding="utf-8")
    table = page.partition("| `model.json` | |")[2].partition("\n\n")[0]
    fields = [name for row in table.splitlines()[2:] for name in row.split("|")[1].split(",")]
    assert {name.strip(" `") for name in fields} == set(export.description)


def test_the_signature_says_what_stands_for_no_memory(export, frozen):
    signature = loader_impl.parse_saved_model(f"{export.folder}/saved_model").meta_graphs[0]
    signature = signature.signature_def["serving_default"]
    shapes = {
        name: [dim.size for dim in info.tensor_shape.dim] for name, info in signature.inputs.items()
    }
    assert shapes == {
        "input_tensor": [-1],
        "context_features": [-1, -1, frozen.depth + 9],
        "valid_context_size": [-1],
    }
    defaults = {name: tf.make_ndarray(value) for name, value in signature.defaults.items()}
    assert sorted(defaults) == ["context_features", "valid_context_size"]
    assert defaults["context_features"].shape == (1, 1, frozen.depth + 9)
    assert not defaults["context_features"].any() and defaults["valid_context_size"] == [-1]


def test_without_a_memory_it_is_exactly_the_single_frame_model(loaded, run, photographs, entries):
    alone = loaded.detect(photographs)
    nothing = np.zeros(3, np.int32)
    assert_same(loaded.detect_with_context(photographs, entries[0], nothing), alone)
    none = np.zeros([3, 0, entries[0].shape[-1]])
    assert_same(loaded.detect_with_context(photographs, none, nothing), alone)
    keys = np.ones([1, 2, 3, 16])
    unseen = np.zeros([3, 3], bool)
    assert_same(loaded.detect_with_projected(photographs, keys, keys, unseen), alone)


def test_ceilings_are_measured_on_a_run_as_on_its_export(export, run, photographs):
    (ours, names), (theirs, others) = (load_detector(one.folder) for one in (run, export))
    assert names == others and set(names.values()) == {"bobcat", "coyote", "deer"}
    found = ours(photographs)
    for name, value in theirs(photographs).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4)


def test_keys_and_values_give_what_their_entries_give(loaded, photographs, entries):
    features, size = entries
    plain = loaded.detect_with_context(photographs, features, size)
    projected = [loaded.project(np.nan_to_num(row)) for row in features]
    keys, values = (np.stack(part) for part in zip(*projected, strict=True))
    valid = np.arange(5) < size[:, None]
    found = loaded.detect_with_projected(photographs, keys, values, valid)
    assert_same(found, plain, rtol=1e-5, atol=1e-4)


def test_an_explanation_names_what_the_detections_attend_to(loaded, run, photographs, entries):
    features, size = entries
    keys, values = (
        np.stack(part)
        for part in zip(*[loaded.project(np.nan_to_num(row)) for row in features], strict=True)
    )
    valid = np.arange(5) < size[:, None]
    plain = loaded.detect_with_projected(photographs, keys, values, valid)
    found = loaded.explain_with_projected(photographs, keys, values, valid)
    assert_same(found, plain, rtol=1e-5, atol=1e-4)
    index, weight = found["attention_index"], found["attention_weight"]
    assert index.shape == weight.shape == (3, 40, 5), "there are no more than five entries"
    there = found["scores"] >= 0
    assert not weight[~there].any() and not weight[1].any(), "of nothing, and to nothing"
    np.testing.assert_allclose(weight[0][there[0]].sum(axis=1), 1, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(weight[2][there[2]].sum(axis=1), 1, rtol=1e-5, atol=1e-4)
    assert (index[2][weight[2] > 0] < 2).all(), "only entries that count"
    assert (np.diff(weight, axis=-1) <= 0).all()
    # The same as from the model that was trained.
    images, shapes = prepare_images(tf.constant(photographs), (64, 96), True)
    memory = {"context_features": tf.constant(np.nan_to_num(features)), "context_valid": valid}
    expected = detect_with_attention(run.model, images, shapes, memory, top=5)
    np.testing.assert_allclose(weight, expected["attention_weight"], rtol=1e-5, atol=1e-4)


def test_one_memory_for_all_images_is_the_same_as_one_for_each(loaded, photographs, entries):
    features, size = entries[0][[0, 0, 0]], entries[1]
    each = loaded.detect_with_context(photographs, features, size)
    assert_same(
        loaded.detect_with_context(photographs, features[:1], size), each, rtol=1e-5, atol=1e-4
    )
    keys, values = loaded.project(features[0])
    valid = np.arange(5) < size[:, None]
    tiled = [np.stack([part] * 3) for part in (keys, values)]
    shared = loaded.detect_with_projected(photographs, keys[None], values[None], valid)
    assert_same(
        shared, loaded.detect_with_projected(photographs, *tiled, valid), rtol=1e-5, atol=1e-5
    )
    assert_same(shared, each, rtol=1e-5, atol=1e-4)


def test_an_image_is_detected_alike_in_any_batch(loaded, photographs, entries):
    features, size = entries
    together = loaded.detect_with_context(photographs, features, size)
    for i in range(3):
        row = slice(i, i + 1)
        alone = loaded.detect_with_context(photographs[row], features[row], size[row])
        assert_same(alone, {name: value[row] for name, value in together.items()})


def test_a_row_without_a_frame_needs_no_image(loaded, photographs):
    state = loaded.initial_state(2)
    found, after = loaded.step([photographs[0], b""], [1, 2], [True, False], state, seconds=[5, 5])
    assert found["scores"][0, 0] > 0 and (found["scores"][1] == -1).all()
    assert after["frame"].numpy().tolist() == [1, 0]


def test_the_names_and_the_memory_of_a_loaded_model(loaded, frozen):
    assert loaded.class_names == {1: "bobcat", 2: "coyote", 3: "deer"}
    assert loaded.has_memory and loaded.extractor_hash == frozen.hash


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m, i, f: m.detect([]), "no images"),
        (lambda m, i, f: m.detect([b"no image"] + i), "(?i)image"),
        (lambda m, i, f: m.detect_with_context(i, f[..., :-1], [1]), r"entries, 73\], got .*72\]"),
        (lambda m, i, f: m.project(f), r"expected \[entries, 73\], got \[3, 5, 73\]"),
        (
            lambda m, i, f: m.detect_with_context(i, f[:2], [1, 1, 1]),
            "features needs a row for",
        ),
        (lambda m, i, f: m.detect_with_context(i, f, [1, 1]), "valid_context_size needs a row"),
        (lambda m, i, f: m.detect_with_context(i, f, [1, 6, 1]), "more than the entries"),
        (lambda m, i, f: m.detect_with_context(i, f * 0, [1, 1, 1]), "or they are all zeros"),
        (
            lambda m, i, f: m.detect_with_projected(i, f[:2, None], f[:2, None], f[:1, :, 0] > 0),
            "context_keys",
        ),
        (
            lambda m, i, f: m.step(i, [1] * 3, [True] * 3, {}, seconds=[1] * 3),
            "Binding inputs",
        ),
        (lambda m, i, f: m.step(i, [1] * 3, [True] * 3, {}), "needs seconds"),
        (
            lambda m, i, f: m.step(i, [1] * 3, [True] * 3, {}, seconds=[1] * 3, elsewhere=i),
            "does not take elsewhere",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(loaded, photographs, entries, ask, message):
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError), match=message):
        ask(loaded, photographs, np.nan_to_num(entries[0], nan=1.0))


@pytest.mark.slow
def test_all_behind_the_resizing_converts_to_tflite(run, frozen, photographs, entries, tmp_path):
    """With TFLite's own operations, and a memory of a fixed number of entries."""
    options = {"extractor": frozen.folder, "portable": True}
    export_lib.export_run(run.folder, str(tmp_path), **options)
    model = tf.saved_model.load(f"{tmp_path}/saved_model")
    images, shapes = (part[:1] for part in prepare(photographs))
    projected = model.project(entries[0][:1])
    given = {
        "images": images,
        "context_keys": projected["context_keys"],
        "context_values": projected["context_values"],
        "context_valid": tf.ones([1, 5], tf.bool),
    }

    def detect(images, context_keys, context_values, context_valid):
        return model.detect_prepared_with_projected(
            images, tf.constant(shapes), context_keys, context_values, context_valid
        )

    specs = [tf.TensorSpec(value.shape, value.dtype, name) for name, value in given.items()]
    concrete = tf.function(detect).get_concrete_function(*specs)
    tf.saved_model.save(
        model,
        f"{tmp_path}/prepared",
        signatures=concrete,
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
    )
    converter = tf.lite.TFLiteConverter.from_saved_model(f"{tmp_path}/prepared")
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    found = interpreter.get_signature_runner()(**{n: v.numpy() for n, v in given.items()})
    for name, expected in detect(**given).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-4, err_msg=name)


def test_an_extractor_that_did_not_make_the_bank_is_refused(run, frozen, make_run, tmp_path):
    def trained(**long_term):
        changes = {"temporal": {"context_rcnn": {"long_term": long_term}}}
        config = run.config.replace(task=changes)
        return export_lib.Trained(config, DetectionTask(config.task), run.model)

    with pytest.raises(ValueError, match=f"{frozen.hash}, but .* made by 5eed"):
        export_lib.export_trained(trained(extractor="5eed"), str(tmp_path), extractor=frozen.folder)
    other = trained(extractor="", entry_size=99)
    with pytest.raises(ValueError, match="entries of 73; the detector attends to entries of 99"):
        export_lib.export_trained(other, str(tmp_path), extractor=frozen.folder)
    with pytest.raises(ValueError, match="attends to no memory bank"):
        export_lib.export_run(make_run().folder, str(tmp_path), extractor=frozen.folder)
    assert not os.listdir(tmp_path)


def test_short_term_memory_alone_needs_no_extractor(make_run, photographs):
    short = make_run(
        {
            "type": "context_rcnn",
            "context_rcnn": {
                "depth": 16,
                "short_term": {"window": 3},
                "long_term": {"enabled": False},
            },
        },
        clip={"frames": 3},
    )
    served = export_lib.serve(export_lib.load_run(short.folder))
    assert served.describe()["memory"] is None
    assert not {"extract", "project", "detect_with_context"} & set(served.functions())
    stream = ContextStream(short.model, None)
    state, other = stream.initial_state(1), served.initial_state(1)
    for i, photograph in enumerate(photographs[:2]):
        frame = tf.constant([1], tf.int64), tf.constant([True]), tf.constant([SECONDS[i]], tf.int64)
        images, shapes = prepare([photograph])
        row, valid, seconds = frame
        given = Frame(images, shapes, row, valid, seconds=seconds)
        expected, state = stream.step(given, state)
        found, other = served.step(tf.constant([photograph]), *frame, other)
        assert_same(normalised(found, [[1.0, 1.0]]), normalised(expected, shapes))
    assert other["recent_valid"].numpy().any(axis=(0, 2)).all(), "both frames are remembered"
    np.testing.assert_allclose(
        other["recent_features"], state["recent_features"], rtol=1e-4, atol=1e-4
    )


def test_clips_cannot_be_exported(make_run, tmp_path):
    averaging = make_run({"type": "st_spatial"}, clip={"frames": 3})
    with pytest.raises(ValueError, match="st_spatial looks at 3 frames at once"):
        export_lib.export_run(averaging.folder, str(tmp_path))


def test_the_hash_stands_for_weights_and_preprocessing(run, export):
    trained = export_lib.load_run(run.folder)
    again = export_lib._describe(trained, "tf_example", None, None)
    assert again["hash"] == export.description["hash"]
    trained.config.task.model.keep_aspect_ratio = False
    assert export_lib._describe(trained, "", None, None)["hash"] != again["hash"]
    trained.config.task.model.keep_aspect_ratio = True
    variable = trained.model.variables[-1]
    variable.assign_add(tf.fill(variable.shape, 1e-6))
    assert export_lib._describe(trained, "", None, None)["hash"] != again["hash"]


def test_what_is_no_export_is_refused(export, tmp_path):
    with pytest.raises(ValueError, match="no model.json"):
        ExportedModel(tmp_path)
    os.symlink(f"{export.folder}/saved_model", tmp_path / "saved_model")
    other = tmp_path / "model.json"
    other.write_text(json.dumps(export.description | {"format_version": 2}))
    with pytest.raises(ValueError, match="version 2 is newer"):
        ExportedModel(tmp_path)
    other.write_text(json.dumps(export.description | {"hash": "other"}))
    with pytest.raises(ValueError, match="model.json is not that of the model"):
        ExportedModel(tmp_path)
