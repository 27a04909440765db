"""The served model answers the JSON that TensorFlow Serving takes, and the client speaks it.

The server here keeps TensorFlow Serving's rules for requests and answers, and asks the SavedModel's
signatures, as that does.
"""

import base64
import http.server
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.saved_model import loader_impl

from context_rcnn.export.serving_client import ServingClient, ServingError


class Refused(Exception):
    pass


def to_tensor(value, dtype):
    """A JSON value as a tensor: lists must be even, whole numbers whole, strings may be b64."""

    def leaf(item):
        if isinstance(item, dict):
            if dtype != tf.string or list(item) != ["b64"]:
                raise Refused(f"JSON Value: {item} Type: Object is not of expected type")
            return base64.b64decode(item["b64"])
        fits = {
            tf.string: isinstance(item, str),
            tf.bool: isinstance(item, bool),
            tf.float32: isinstance(item, int | float) and not isinstance(item, bool),
        }
        if not fits.get(dtype, isinstance(item, int) and not isinstance(item, bool)):
            raise Refused(f"JSON Value: {item} is not of expected type: {dtype.name}")
        return item

    def walk(item):
        return [walk(i) for i in item] if isinstance(item, list) else leaf(item)

    try:
        return tf.constant(walk(value), dtype)
    except (ValueError, TypeError):
        raise Refused("Encountered list at unexpected size") from None


def to_json(tensor):
    """Floats get the digits that tell them apart as float32."""
    values = tensor.numpy()
    if values.dtype == np.float32:
        return np.vectorize(lambda x: float(f"{x:.9g}"), otypes=[object])(values).tolist()
    return values.tolist()


def answer(signatures, text):
    """The answer to the body of a POST request to /v1/models/NAME:predict."""
    body = json.loads(text)
    signature = signatures[body.get("signature_name", "serving_default")]
    specs = signature.structured_input_signature[1]
    if "instances" in body:
        for i, instance in enumerate(body["instances"]):
            if set(instance) != set(specs):
                raise Refused(f"Failed to process element: {i} keys must be equal to: {set(specs)}")
        inputs = {name: [row[name] for row in body["instances"]] for name in specs}
    else:
        inputs = body["inputs"]
        for name in specs:  # what has a default is not spared
            if name not in inputs:
                raise Refused(f"Missing named input: {name} in 'inputs' object.")
    outputs = signature(**{name: to_tensor(inputs[name], s.dtype) for name, s in specs.items()})
    outputs = {name: to_json(value) for name, value in outputs.items()}
    if "inputs" in body:
        return {"outputs": outputs}
    rows = zip(*outputs.values(), strict=True)
    return {"predictions": [dict(zip(outputs, row, strict=True)) for row in rows]}


@pytest.fixture(scope="module")
def signatures(export):
    return tf.saved_model.load(f"{export.folder}/saved_model").signatures


@pytest.fixture(scope="module")
def server(signatures):
    """A server of the model `wildlife`; its `bodies` are the requests it got.

    It refuses the first `refusals` of them.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            text = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.bodies.append(json.loads(text))
            try:
                if self.path != "/v1/models/wildlife:predict":
                    raise KeyError(self.path)
                if len(self.server.bodies) <= self.server.refusals:
                    raise Refused("of another request in the same batch")
                status, reply = 200, answer(signatures, text)
            except KeyError as error:
                status, reply = 404, {"error": f"Servable not found for request: {error}"}
            except (Refused, tf.errors.InvalidArgumentError) as error:
                status, reply = 400, {"error": str(error)}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(reply).encode())

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("localhost", 0), Handler) as server:
        server.bodies, server.refusals = [], 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def client(server):
    """Makes a client: `client(batch_size=2)`."""
    server.bodies.clear()
    server.refusals = 0

    def make(model="wildlife", **options):
        return ServingClient(f"http://localhost:{server.server_port}/", model, **options)

    return make


def assert_found(found, expected):
    """Detections of a client against those of the model, which are padded."""
    found = list(found)
    assert len(found) == len(expected["scores"])
    for i, one in enumerate(found):
        there = expected["scores"][i] >= 0
        assert not one.failure and there.any() and not there.all()
        for name in ("boxes", "scores", "classes"):
            np.testing.assert_allclose(
                getattr(one, name), expected[name][i][there], rtol=1e-5, atol=1e-4
            )


@pytest.mark.whole
def test_a_client_gets_what_the_model_finds(client, server, loaded, photographs):
    found = list(client(batch_size=2).detect(iter(photographs)))
    assert len(found) == 3 and len(server.bodies) == 2
    assert_found(found, loaded.detect(photographs))


@pytest.mark.whole
def test_a_memory_goes_along_once_for_all_images(client, server, loaded, photographs, entries):
    memory = entries[0][0]
    found = list(client().detect(photographs, memory))
    assert_found(found, loaded.detect_with_context(photographs, memory[None], [5]))
    (body,) = server.bodies
    assert np.shape(body["inputs"]["context_features"]) == (1, *memory.shape)
    assert_found(client().detect(photographs, memory[:0]), loaded.detect(photographs))


@pytest.mark.whole
def test_a_broken_image_fails_alone(client, loaded, photographs):
    broken = [photographs[0], b"no image", photographs[1], photographs[2][:300]]
    found = list(client(batch_size=4).detect(broken))
    assert_found([found[0], found[2]], loaded.detect(photographs[:2]))
    for one in (found[1], found[3]):
        assert one.failure and one.boxes.shape == (0, 4) and not len(one.scores)
    assert "Unknown image file format" in found[1].failure


@pytest.mark.whole
def test_an_image_that_was_refused_for_its_neighbours_is_asked_about_again(
    client, server, loaded, photographs
):
    server.refusals = 1
    assert_found(client(batch_size=1).detect(photographs), loaded.detect(photographs))
    assert len(server.bodies) == 4
    server.bodies.clear()
    (found,) = client(retries=0).detect(photographs[:1])
    assert found.failure == "of another request in the same batch"


@pytest.mark.whole
def test_a_memory_that_does_not_fit_is_the_reason_of_failure(client, photographs, entries):
    (found,) = client().detect(photographs[:1], entries[0][0, :, 1:])
    assert "[1,5,72] is not compatible with expected shape [?,?,73]" in found.failure


def test_a_server_that_is_not_there_is_an_error(client, photographs):
    with pytest.raises(ServingError, match="Servable not found") as raised:
        list(client("other").detect(photographs))
    assert raised.value.status == 404
    with pytest.raises(ServingError, match="versions/3") as raised:
        list(client(version=3).detect(photographs))
    with pytest.raises(ServingError, match="localhost:9/v1") as raised:
        list(ServingClient("http://localhost:9", "wildlife").detect(photographs))
    assert raised.value.status is None


def test_the_client_needs_no_tensorflow():
    code = (
        "import sys, context_rcnn.export.serving_client;"
        "print({'tensorflow', 'tf_keras', 'official'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr


def test_rows_of_the_default_signature_as_json(signatures, loaded, photographs, entries):
    """The body that docs/serving.md shows."""
    features, size = np.nan_to_num(entries[0]), entries[1]
    rows = [
        {
            "input_tensor": {"b64": base64.b64encode(photographs[i]).decode()},
            "context_features": features[i].tolist(),
            "valid_context_size": int(size[i]),
        }
        for i in range(3)
    ]
    reply = json.loads(json.dumps(answer(signatures, json.dumps({"instances": rows}))))
    expected = loaded.detect_with_context(photographs, features, size)
    for i, row in enumerate(reply["predictions"]):
        there = expected["scores"][i] >= 0
        count = int(row["num_detections"])
        assert count == there.sum()
        for name in ("boxes", "scores", "classes"):
            found = row[f"detection_{name}"][:count]
            np.testing.assert_allclose(
                found, expected[name][i][there], rtol=1e-5, atol=1e-4, err_msg=name
            )
    del rows[1]["context_features"]
    with pytest.raises(Refused, match="element: 1 keys must be equal"):
        answer(signatures, json.dumps({"instances": rows}))


def test_a_server_fills_in_what_is_not_given(signatures, export, loaded, photographs):
    """Over gRPC, inputs may be left away that the signature has defaults for."""
    graph = loader_impl.parse_saved_model(f"{export.folder}/saved_model").meta_graphs[0]
    defaults = graph.signature_def["serving_default"].defaults
    defaults = {name: tf.constant(tf.make_ndarray(value)) for name, value in defaults.items()}
    expected = loaded.detect(photographs)
    for rows in (slice(0, 1), slice(0, 3)):
        images = tf.constant(photographs[rows])
        found = signatures["serving_default"](input_tensor=images, **defaults)
        np.testing.assert_allclose(
            found["detection_scores"], np.maximum(expected["scores"][rows], 0), rtol=1e-5, atol=1e-4
        )


def test_python_gets_the_same_as_the_page_says(signatures, export, loaded, photographs):
    """There the signature asks for every input, and its message says what else to call."""
    images = tf.constant(photographs)
    with pytest.raises(TypeError) as caught:
        signatures["serving_default"](input_tensor=images)
    message = str(caught.value)
    assert "with_memory_or_else_call_the_model_itself" in message
    assert "missing required arguments: context_features, valid_context_size" in message
    size = export.description["memory"]["entry_size"]
    nothing = {"context_features": tf.zeros([1, 1, size]), "valid_context_size": tf.constant([0])}
    found = signatures["serving_default"](input_tensor=images, **nothing)
    itself, expected = loaded._module(images), loaded.detect(photographs)
    assert (found["detection_scores"].numpy() > 0).any() and set(found) == set(itself)
    for name, value in itself.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-4, err_msg=name)
    scores = np.maximum(expected["scores"], 0)
    np.testing.assert_allclose(itself["detection_scores"], scores, rtol=1e-5, atol=1e-4)


def test_a_server_may_make_one_batch_of_several_requests(
    signatures, export, loaded, photographs, entries
):
    """It pads what is shorter with its first number; a memory that is not given is among them."""
    graph = loader_impl.parse_saved_model(f"{export.folder}/saved_model").meta_graphs[0]
    defaults = graph.signature_def["serving_default"].defaults
    nothing, unknown = (
        tf.make_ndarray(defaults[name]) for name in ("context_features", "valid_context_size")
    )
    features = np.nan_to_num(entries[0])
    requests = [features[:1], features[2:, :2], nothing]
    padded = [
        np.pad(one, [[0, 0], [0, 5 - one.shape[1]], [0, 0]], constant_values=one.flat[0])
        for one in requests
    ]
    found = signatures["serving_default"](
        input_tensor=tf.constant(photographs),
        context_features=tf.constant(np.concatenate(padded)),
        valid_context_size=tf.constant([5, 2, *unknown]),
    )
    for i, (memory, size) in enumerate(zip(requests, [[5], [2], [0]], strict=True)):
        alone = loaded.detect_with_context(photographs[i : i + 1], memory, size)
        scores = np.maximum(alone["scores"][0], 0)
        np.testing.assert_allclose(found["detection_scores"][i], scores, rtol=1e-5, atol=1e-4)
