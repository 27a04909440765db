"""A client of TensorFlow Serving's REST interface, on NumPy and the standard library alone.

    client = ServingClient("http://localhost:8501", "wildlife")
    for found in client.detect(images):                      # or detect(images, memory)
        print(found.failure or found.scores)

Images are sent several at a time. One broken image fails all that were sent with it, so the client
asks again with halves until it stands alone. A memory is sent once per request, for all its images;
it is many numbers as text, and gRPC is the better way for large ones (docs/serving.md).
"""

import base64
import itertools
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class ServingError(Exception):
    """The server did not answer, or refused.

    Attributes:
        status: status code of HTTP; None if there was no answer.
    """

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class Found(NamedTuple):
    """Detections in an image, or the reason why there are none."""

    boxes: np.ndarray  # float32 [n, 4], y1 x1 y2 x2 as fractions of the image
    scores: np.ndarray  # float32 [n], best first
    classes: np.ndarray  # int32 [n]
    failure: str = ""


class ServingClient:
    """Asks a served model (`context-rcnn export`).

    Args:
        url: address of the server, such as http://localhost:8501.
        model: name of the model on the server.
        version: version of the model; None takes the latest.
        batch_size: images a request. A server that makes batches itself wants 1, from several
            threads, which may share a client.
        retries: how often a refused image is asked about again, alone: a server that makes batches
            refuses all requests of one for the sake of one broken image.
        timeout: seconds to wait for an answer.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: int | None = None,
        batch_size: int = 8,
        retries: int = 1,
        timeout: float = 60.0,
    ):
        which = f"{model}/versions/{version}" if version is not None else model
        self._url = f"{url.rstrip('/')}/v1/models/{which}:predict"
        self._batch_size = batch_size
        self._retries = retries
        self._timeout = timeout

    def detect(self, images: Iterable[bytes], memory: np.ndarray | None = None) -> Iterator[Found]:
        """What is in each of the encoded images, in their order.

        Args:
            images: all of one camera if a memory is given.
            memory: float32 [entries, entry size], of that camera.

        Raises:
            ServingError: if the server is not there, or has no such model.
        """
        images = iter(images)
        while batch := list(itertools.islice(images, self._batch_size)):
            yield from self._detect(batch, memory)

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """One request: inputs by name, each a list with an item an image, to outputs by name."""
        body = json.dumps({"signature_name": signature, "inputs": inputs}).encode()
        request = urllib.request.Request(
            self._url, body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                outputs = json.load(answer)["outputs"]
        except urllib.error.HTTPError as error:
            raise ServingError(_message(error), error.code) from None
        except (OSError, ValueError) as error:
            raise ServingError(f"{self._url}: {error}") from None
        return {name: np.asarray(value) for name, value in outputs.items()}

    def _detect(
        self, batch: Sequence[bytes], memory: np.ndarray | None, tries: int = 1
    ) -> list[Found]:
        signature, inputs = request_inputs(batch, memory)
        try:
            return read_detections(self.predict(signature, inputs))
        except ServingError as error:
            if error.status != 400:
                raise
            failure = str(error)
        if len(batch) > 1:
            middle = len(batch) // 2
            return self._detect(batch[:middle], memory) + self._detect(batch[middle:], memory)
        if tries <= self._retries:
            return self._detect(batch, memory, tries + 1)
        nothing = np.zeros(0, np.float32)
        return [Found(nothing.reshape(0, 4), nothing, nothing.astype(np.int32), failure)]


def request_inputs(
    images: Sequence[bytes], memory: np.ndarray | None = None
) -> tuple[str, dict[str, Any]]:
    """The signature to call, and its inputs as JSON."""
    inputs: dict[str, Any] = {
        "encoded_images": [{"b64": base64.b64encode(image).decode()} for image in images]
    }
    if memory is None or not len(memory):
        return "detect", inputs
    inputs["context_features"] = [np.asarray(memory, np.float32).tolist()]
    inputs["valid_context_size"] = [len(memory)]
    return "detect_with_context", inputs


def read_detections(outputs: Mapping[str, np.ndarray]) -> list[Found]:
    """Detections by image, without padding."""
    names = ("detection_boxes", "detection_scores", "detection_classes")
    found = []
    for boxes, scores, classes in zip(*(outputs[name] for name in names), strict=True):
        there = scores >= 0
        found.append(
            Found(
                boxes[there].astype(np.float32),
                scores[there].astype(np.float32),
                classes[there].astype(np.int32),
            )
        )
    return found


def _message(error: urllib.error.HTTPError) -> str:
    """The error message of the server."""
    text = error.read().decode("utf-8", "replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text or str(error)
