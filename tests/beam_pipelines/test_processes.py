"""Builds by real processes: several at once, and one that is killed."""

import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.memory_bank import maintenance

pytestmark = pytest.mark.slow

CAMERAS, IMAGES = 12, 40


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of photographs; each camera is a piece of its own."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for camera in range(CAMERAS):
        (folder / f"cam{camera:02}").mkdir()
        for i in range(IMAGES):
            pixels = rng.integers(0, 200, (240, 320, 3), np.uint8)
            data = tf.io.encode_jpeg(pixels).numpy()
            (folder / f"cam{camera:02}" / f"{i:03}.jpg").write_bytes(data)
    return folder


def command(photographs, extractor, bank, *more):
    module = [sys.executable, "-m", "beam_pipelines.build_memory_bank"]
    flags = [f"--input_folder={photographs}", f"--extractor={extractor}", f"--output_dir={bank}"]
    return [*module, *flags, "--num_shards=4", *more]


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def whole(photographs, extractor, tmp_path_factory):
    """The bank of a build that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "bank"
    subprocess.run(command(photographs, extractor, folder), check=True, capture_output=True)
    return folder


def test_several_processes_do_not_change_a_byte(photographs, extractor, whole, tmp_path):
    workers = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    done = subprocess.run(
        command(photographs, extractor, tmp_path / "bank", *workers), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert bytes_of(tmp_path / "bank") == bytes_of(whole)


def parts(bank):
    return len(list(bank.glob("_progress/parts/*/failures.jsonl")))


def test_a_killed_build_goes_on_to_the_same_bytes(photographs, extractor, whole, tmp_path):
    """SIGKILL with the first part written, with half of them, and while the bank is put together;
    each time the next process goes on where the last was."""
    bank = tmp_path / "bank"
    moments = [
        lambda: parts(bank) >= 1,
        lambda: parts(bank) >= CAMERAS // 2,
        lambda: list(bank.glob("*.next")) or list(bank.glob("_progress/shards/*.json")),
    ]
    done_before = 0
    for moment in moments:
        with subprocess.Popen(
            command(photographs, extractor, bank), stderr=subprocess.DEVNULL
        ) as process:
            while not moment():
                assert process.poll() is None, "it ended before the moment came"
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not (bank / "manifest.json").exists()
        assert done_before <= parts(bank)
        done_before = parts(bank)
    assert done_before == CAMERAS
    before = {path: path.stat().st_mtime_ns for path in bank.glob("_progress/parts/*/*")}
    subprocess.run(command(photographs, extractor, bank), check=True, capture_output=True)
    after = {path: path.stat().st_mtime_ns for path in bank.glob("_progress/parts/*/*")}
    assert before.items() <= after.items()
    assert bytes_of(bank) == bytes_of(whole)
    assert maintenance.verify(str(bank)) == []
    assert not list(pathlib.Path(bank).glob("**/*.writing-*"))
