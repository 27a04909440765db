"""The pipelines on the protocol of S3, with a server on this machine that often has no time."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from beam_pipelines import build_memory_bank, create_examples, extraction
from context_rcnn import cli
from context_rcnn.memory_bank import maintenance

pytestmark = pytest.mark.slow
boto3 = pytest.importorskip("boto3", reason="pip install 'apache-beam[aws]' 'moto[server]'")
pytest.importorskip("moto", reason="pip install 'moto[server]'")

ROOT = pathlib.Path(__file__).parents[2]
BUCKET = "archive"
EVERY = 5  # so many requests, one is refused for now
KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}


class Busy:
    """A server that answers one request of a few by 503."""

    def __init__(self, server):
        self._server, self._lock = server, threading.Lock()
        self.requests = self.refused = 0

    def __call__(self, environ, start_response):
        with self._lock:
            self.requests += 1
            refuse = self.requests % EVERY == 0
            self.refused += refuse
        if not refuse:
            return self._server(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("503 Slow Down", [("Content-Length", "0")])
        return [b""]


class Storage:
    """The bucket."""

    def __init__(self, url, busy):
        self.busy = busy
        self._client = boto3.client("s3", endpoint_url=url, **KEYS)
        self._client.create_bucket(Bucket=BUCKET)
        self.flags = [f"--s3_endpoint_url={url}"]
        self.flags += [f"--s3_{name.removeprefix('aws_')}={value}" for name, value in KEYS.items()]

    def names(self, prefix):
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def files(self, folder):
        """The objects of a folder but for those in its own folders."""
        found = {name.removeprefix(f"{folder}/"): name for name in self.names(f"{folder}/")}
        return {
            short: self._client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
            for short, name in found.items()
            if "/" not in short
        }


@pytest.fixture(scope="module")
def s3():
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    busy = Busy(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, busy, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Storage(f"http://127.0.0.1:{server.server_port}", busy)
    server.shutdown()


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def examples(s3, simulated):
    flags = [f"--input_json={simulated}/camera_traps.json", f"--image_root={simulated}/images"]
    flags += ["--num_shards=2", f"--output_dir=s3://{BUCKET}/examples", *s3.flags]
    assert create_examples.main(flags) == 0
    return f"s3://{BUCKET}/examples"


def remember(examples, extractor, folder, *flags):
    given = [f"--examples={examples}", f"--extractor={extractor}", "--num_shards=2"]
    return [*given, f"--output_dir={folder}", *flags]


@pytest.fixture(scope="module")
def bank(archive, extractor, tmp_path_factory):
    """On the disk."""
    folder = tmp_path_factory.mktemp("disk") / "bank"
    assert build_memory_bank.main(remember(archive, extractor, folder)) == 0
    return folder


def test_examples_and_bank_have_the_bytes_that_they_have_on_the_disk(
    s3, examples, archive, extractor, bank, monkeypatch
):
    assert s3.files("examples") == files_of(archive)
    flags = remember(examples, extractor, f"s3://{BUCKET}/bank", *s3.flags)
    assert build_memory_bank.main(flags) == 0
    assert s3.files("bank") == files_of(bank)
    assert s3.busy.refused > 50

    def never(*_):
        raise AssertionError("the extractor ran again")

    monkeypatch.setattr(extraction.ExtractPart, "_extract", never)
    assert build_memory_bank.main(flags) == 0
    assert s3.files("bank") == files_of(bank)


def test_a_bank_is_copied_to_the_disk_and_back(s3, bank, tmp_path):
    there, here = f"s3://{BUCKET}/copied", tmp_path / "bank"
    assert cli.main(["bank", "copy", str(bank), there, *s3.flags]) == 0
    assert cli.main(["bank", "copy", there, str(here), *s3.flags]) == 0
    assert files_of(here).items() <= files_of(bank).items()
    assert maintenance.verify(str(here)) == []


def test_a_killed_build_goes_on(s3, examples, extractor, bank, tmp_path):
    flags = remember(examples, extractor, f"s3://{BUCKET}/killed", *s3.flags)
    process = subprocess.Popen(
        [sys.executable, "-m", "beam_pipelines.build_memory_bank", *flags],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )
    while not s3.names("killed/_progress/parts/") and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert "manifest.json" not in s3.files("killed")
    assert build_memory_bank.main(flags) == 0
    assert s3.files("killed") == files_of(bank)
    for name, data in s3.files("killed").items():
        (tmp_path / name).write_bytes(data)
    assert maintenance.verify(str(tmp_path)) == []
