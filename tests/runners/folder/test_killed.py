"""A run that is killed at any moment and begun again writes the same bytes as one that is not."""

import contextlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.runners.forked import Forks

SCRIPT = pathlib.Path(__file__).with_name("killed.py")
ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def forks(tmp_path):
    """Runs over photographs, in processes that can be killed."""
    with Forks(SCRIPT, tmp_path) as forks:
        yield forks


def results(folder, name):
    """Results by kind."""
    kinds = ("json", "csv", "coco.json", "coco.images.json", "repeats.csv")
    found = {kind: (folder / f"{name}.{kind}").read_bytes() for kind in kinds}
    found["explained"] = (folder / f"{name}.state" / "explained.jsonl").read_bytes()
    assert found["explained"]
    return found


@pytest.mark.whole
def test_killed_runs_end_as_an_uninterrupted_one(forks, tmp_path, fakes):
    fakes.write_photos(tmp_path / "photos", ["a", "b", "c"], count=40)
    code, moments = forks.run("whole")
    assert code == 0
    expected = results(tmp_path, "whole")
    assert expected["json"].count(b'"file"') == 120
    rng = random.Random(0)
    codes = [
        # The memory comes first, then the detections.
        forks.run("killed", rng.randint(1, round(share * moments)))[0]
        for share in (0.4, 0.9)
    ]
    assert codes[0] == -signal.SIGKILL and set(codes) <= {0, -signal.SIGKILL}
    assert forks.run("killed")[0] == 0
    assert results(tmp_path, "killed") == expected
    left = {path.name for path in (tmp_path / "killed.state").iterdir()}
    assert left == {path.name for path in (tmp_path / "whole.state").iterdir()}
    assert not list((tmp_path / "killed.state/parts").iterdir())


@pytest.mark.slow
def test_a_kill_at_every_moment_is_recovered_from(forks, tmp_path, fakes):
    """One kill in a fresh run, at every moment that makes something last."""
    fakes.write_photos(tmp_path / "photos", ["a"], count=5)
    _, moments = forks.run("whole")
    expected = results(tmp_path, "whole")
    assert moments > 40
    for moment in range(1, moments + 1):
        name = f"killed-{moment}"
        assert forks.run(name, moment)[0] == -signal.SIGKILL
        assert forks.run(name)[0] == 0
        assert results(tmp_path, name) == expected, moment


@pytest.mark.slow
def test_twenty_kills_at_random_times_end_as_an_uninterrupted_run(forks, tmp_path, fakes):
    fakes.write_photos(tmp_path / "photos", [f"camera {i}" for i in range(8)], count=100)
    forks.run("whole")
    expected = results(tmp_path, "whole")
    assert expected["json"].count(b'"file"') == 800
    rng, codes = random.Random(0), []
    while codes.count(-signal.SIGKILL) < 20:
        process = forks.start("killed", 0, 0.1)
        time.sleep(rng.uniform(0, 2.5))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        codes.append(forks.end()[0])
        assert codes[-1] in (0, -signal.SIGKILL)
    assert forks.run("killed")[0] == 0
    assert results(tmp_path, "killed") == expected


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
