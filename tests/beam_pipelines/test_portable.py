"""Beam's portable protocol: a job service, and workers in a pool of other processes.

Flink and Spark run pipelines in this way, too; `make test-cluster` has those themselves.
"""

import os
import pathlib
import socket
import sys

import pytest
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipelines import build_memory_bank, extraction
from tests.cluster.processes import Processes, free_port, wait_until

ROOT = pathlib.Path(__file__).parents[2]


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class TwoWorkers(FnApiRunner):
    """What runs the jobs of the service in this process, which has no option for their workers."""

    def __init__(self, **options):
        super().__init__(**options)
        self._num_workers = 2


@pytest.fixture
def pool(tmp_path):
    """Beam's own pool of worker processes: its address, and what it has said so far."""
    port, programs = free_port(), os.path.dirname(sys.executable)  # the pool starts `python`
    with Processes(tmp_path) as processes:
        processes.start(
            "pool",
            [
                *(sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main"),
                f"--service_port={port}",
            ],
            PATH=f"{programs}:{os.environ['PATH']}",
            PYTHONPATH=str(ROOT),
        )
        wait_until(lambda: listens(port), "the worker pool")
        yield f"localhost:{port}", lambda: processes.words("pool")


def test_two_processes_of_a_worker_pool_do_not_change_a_byte(
    archive, extractor, pool, tmp_path, monkeypatch, optimised
):
    extraction._load.cache_clear()
    build_memory_bank.main(
        [f"--examples={archive}", f"--extractor={extractor}", f"--output_dir={tmp_path / 'one'}"]
    )
    address, words = pool

    def never(folder):
        raise AssertionError("this process works by itself")

    monkeypatch.setattr(extraction, "_load", never)
    monkeypatch.setattr(local_job_service.fn_runner, "FnApiRunner", TwoWorkers)
    code = build_memory_bank.main(
        [
            *(f"--examples={archive}", f"--extractor={extractor}"),
            f"--output_dir={tmp_path / 'two'}",
            *("--runner=PortableRunner", "--job_endpoint=embed"),
            *("--environment_type=EXTERNAL", f"--environment_config={address}"),
        ]
    )
    assert code == 0
    assert words().count("Starting worker with command") == 2
    assert bytes_of(tmp_path / "two") == bytes_of(tmp_path / "one")
    assert len(bytes_of(tmp_path / "two")) == 18  # sixteen files, manifest, failures
