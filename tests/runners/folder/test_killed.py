"""A run that is killed at any moment and begun again writes the same bytes as one that is not."""

import pathlib
import random
import signal
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).with_name("killed.py")
ROOT = pathlib.Path(__file__).parents[3]


def start(folder, name, sleep=0.0, moment=0):
    command = [sys.executable, str(SCRIPT), str(folder), name, str(sleep), str(moment)]
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == "begins\n", process.stderr.read()
    return process


def finish(folder, name):
    """Results by kind, and how many moments the run had."""
    out, errors = start(folder, name).communicate()
    assert out, errors
    kinds = ("json", "csv", "coco.json", "coco.images.json", "repeats.csv")
    found = {kind: (folder / f"{name}.{kind}").read_bytes() for kind in kinds}
    found["explained"] = (folder / f"{name}.state" / "explained.jsonl").read_bytes()
    assert found["explained"]
    return found, int(out.splitlines()[-1])


def test_killed_runs_end_as_an_uninterrupted_one(tmp_path, fakes):
    fakes.write_photos(tmp_path / "photos", ["a", "b", "c"], count=40)
    expected, moments = finish(tmp_path, "whole")
    assert expected["json"].count(b'"file"') == 120
    rng = random.Random(0)
    codes = []
    for share in (0.4, 0.9):  # the memory comes first, then the detections
        process = start(tmp_path, "killed", moment=rng.randint(1, round(share * moments)))
        process.communicate()
        codes.append(process.returncode)
    assert codes[0] == -signal.SIGKILL and set(codes) <= {0, -signal.SIGKILL}
    assert finish(tmp_path, "killed")[0] == expected
    left = {path.name for path in (tmp_path / "killed.state").iterdir()}
    assert left == {path.name for path in (tmp_path / "whole.state").iterdir()}
    assert not list((tmp_path / "killed.state/parts").iterdir())


@pytest.mark.slow
def test_a_kill_at_every_moment_is_recovered_from(tmp_path, fakes):
    """One kill in a fresh run, at every moment that makes something last."""
    fakes.write_photos(tmp_path / "photos", ["a"], count=5)
    expected, moments = finish(tmp_path, "whole")
    assert moments > 40
    for moment in range(1, moments + 1):
        process = start(tmp_path, f"killed-{moment}", moment=moment)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert finish(tmp_path, f"killed-{moment}")[0] == expected, moment


@pytest.mark.slow
def test_twenty_kills_at_random_times_end_as_an_uninterrupted_run(tmp_path, fakes):
    fakes.write_photos(tmp_path / "photos", [f"camera {i}" for i in range(8)], count=100)
    expected, _ = finish(tmp_path, "whole")
    assert expected["json"].count(b'"file"') == 800
    rng = random.Random(0)
    killed = 0
    while killed < 20:
        process = start(tmp_path, "killed", sleep=0.1)
        try:
            process.wait(rng.uniform(0, 2.5))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        assert process.returncode in (0, -signal.SIGKILL)
    assert finish(tmp_path, "killed")[0] == expected


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """Its own memory, without what is mapped, of 2,000 and of 10,000 images in cameras of 500."""
    peaks = {}
    for count in (2_000, 10_000):
        command = [sys.executable, "-m", "benchmarks.detect_scale", f"--images={count}"]
        done = subprocess.run(
            [*command, f"--folder={tmp_path}/{count}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        fields = done.stdout.splitlines()[0].split()
        assert fields[:2] == [str(count), "detect"]
        peaks[count] = float(fields[-2])
    # SQLite's cache of 16 MB fills up on the way.
    assert peaks[10_000] - peaks[2_000] < 20, peaks
