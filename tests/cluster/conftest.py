"""A small archive, a tiny model, what one process makes of them, and the clusters."""

import os
import signal
import subprocess
import sys
import types

import pytest

from tests.cluster import engines, parts
from tests.cluster.processes import Processes
from tests.export.conftest import export, frozen, make_run, run  # noqa: F401


@pytest.fixture(scope="session")
def prepared():
    """Java is there, and what is started here is ended also where the tests are told to stop."""
    try:
        parts.java()
    except parts.Missing as missing:
        pytest.exit(str(missing), returncode=2)

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def archive(prepared, tmp_path_factory):
    """Simulated cameras."""
    from context_rcnn.simulation import simulate_camera_traps

    folder = tmp_path_factory.mktemp("simulated") / "archive"
    simulate_camera_traps(folder, cameras=4, days=2, seed=1)
    return folder


class Pipelines:
    """The three pipelines, as people start them, into the folders of one place."""

    def __init__(self, archive, extractor, model, place):
        self._extractor, self._model, self.place = extractor, model, place
        self._images = f"--image_root={archive}/images"
        self._labels = f"--input_json={archive}/camera_traps.json"

    def examples(self):
        verb = ["context_rcnn.cli", "examples", self._labels, self._images, "--num_shards=3"]
        return [*verb, f"--output_dir={self.place / 'examples'}"]

    def remember(self):
        verb = ["context_rcnn.cli", "remember", f"--examples={self.place / 'examples'}"]
        verb += [f"--extractor={self._extractor}", "--num_shards=4", "--batch_size=4"]
        return [*verb, f"--output_dir={self.place / 'bank'}"]

    def detect(self):
        module = ["beam_pipelines.detect", self._labels, self._images, f"--model={self._model}"]
        memory = f"--bank={self.place / 'bank'}"
        return [*module, memory, f"--output_dir={self.place / 'found'}"]

    def results(self):
        verb = ["context_rcnn.cli", "results", str(self.place / "found"), "--output"]
        return [*verb, str(self.place / "results.json")]


@pytest.fixture(scope="session")
def pipelines(archive, frozen, export):  # noqa: F811
    return lambda place: Pipelines(archive, frozen.folder, export.folder, place)


def alone(command):
    """Runs a command without a cluster."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, **engines.OURS},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def one_process(pipelines, tmp_path_factory):
    """What the embedded runner makes, which is what every engine has to make."""
    made = pipelines(tmp_path_factory.mktemp("one_process"))
    for command in (made.examples(), made.remember(), made.detect(), made.results()):
        alone(command)
    return made


@pytest.fixture(scope="module", params=[engines.Flink, engines.Spark], ids=lambda kind: kind.name)
def cluster(request, tmp_path_factory):
    """An engine that runs, the processes beside it, and what runs a command without it."""
    with Processes(tmp_path_factory.mktemp(request.param.name)) as processes:
        try:
            engine = request.param(processes)
        except parts.Missing as missing:
            pytest.exit(str(missing), returncode=2)
        try:
            engine.start()
            yield types.SimpleNamespace(engine=engine, processes=processes, alone=alone)
        finally:
            engine.stop()
