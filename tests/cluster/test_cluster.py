"""The pipelines on a real Flink and a real Spark: the same bytes, also where a worker is killed."""

import collections
import json
import subprocess

import pytest

from benchmarks import bank_build, bank_scale
from context_rcnn.memory_bank import maintenance
from tests.cluster.processes import end, wait_until

pytestmark = pytest.mark.cluster
_LIMIT = 1200  # seconds of a pipeline, on a machine that does other things too


def bytes_of(folder):
    """The files of a folder; what is in its own folders is for going on after a crash."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def images(made):
    return json.loads((made.place / "results.json").read_text())["images"]


def moments(paths):
    """When each file was last written."""
    return {path: path.stat().st_mtime_ns for path in paths}


def ran(cluster, name, command):
    """Runs a pipeline on the cluster; its exit code."""
    process = cluster.engine.run(name, command)
    try:
        return process.wait(_LIMIT)
    except subprocess.TimeoutExpired:
        end(process)
        pytest.fail(f"{name} does not end: {cluster.processes.words(name)[-2000:]}")


@pytest.fixture(scope="module")
def whole(cluster, pipelines, tmp_path_factory):
    """All three pipelines on the cluster, which nothing disturbed."""
    made = pipelines(tmp_path_factory.mktemp("whole"))
    for name in ("examples", "remember", "detect"):
        code = ran(cluster, name, getattr(made, name)())
        assert code == 0, cluster.processes.words(name)[-3000:]
    cluster.alone(made.results())
    return made


def test_the_files_are_those_of_one_process(cluster, whole, one_process):
    for name in ("examples", "bank"):
        ours, theirs = bytes_of(whole.place / name), bytes_of(one_process.place / name)
        assert ours.keys() == theirs.keys()
        assert [n for n in ours if ours[n] != theirs[n]] == []
    assert maintenance.verify(str(whole.place / "bank")) == []
    assert images(whole) == images(one_process)
    assert len(cluster.engine.jobs()) == 3
    assert set(cluster.engine.jobs()) == {"FINISHED"}


@pytest.mark.parametrize("verb", ["remember", "detect"])
def test_a_worker_is_killed(cluster, pipelines, one_process, verb, tmp_path):
    """The job ends right or says that it failed; given again, it ends right in any case."""
    made = pipelines(tmp_path)
    for name in ("examples", *(["bank"] if verb == "detect" else [])):
        (tmp_path / name).symlink_to(one_process.place / name)
    begun = (
        "bank/_progress/parts/*/failures.jsonl"
        if verb == "remember"
        else "found/journal-[0-9a-f]*.jsonl"
    )
    first = cluster.engine.run(f"{verb}_killed", getattr(made, verb)())
    wait_until(
        lambda: list(tmp_path.glob(begun)) or first.poll() is not None, "the first piece", _LIMIT
    )
    assert first.poll() is None, "it ended before the worker was killed"
    cluster.engine.kill(0)
    cluster.engine.add_worker(0)
    code = first.wait(_LIMIT)
    words = cluster.processes.words(f"{verb}_killed")
    print(f"{cluster.engine.name}: {verb}, a worker killed: exit code {code}")
    assert code == 0 or "failed in state FAILED" in words, words[-3000:]
    kept = moments(tmp_path.glob(begun))
    assert ran(cluster, f"{verb}_again", getattr(made, verb)()) == 0
    assert kept.items() <= moments(tmp_path.glob(begun)).items(), "a finished piece was made again"
    if verb == "remember":
        assert bytes_of(tmp_path / "bank") == bytes_of(one_process.place / "bank")
        assert maintenance.verify(str(tmp_path / "bank")) == []
    else:
        cluster.alone(made.results())
        assert images(made) == images(one_process)


IMAGES, PIECES = 20_000, 40  # of one camera


@pytest.fixture(scope="module")
def skewed(prepared, tmp_path_factory):
    """Examples of one camera that never rests, and an extractor that does not look at them."""
    folder = tmp_path_factory.mktemp("skewed")
    bank_scale.write_examples(str(folder / "examples"), 1, IMAGES, files=PIECES, size=500)
    bank_build.write_idle_extractor(str(folder / "extractor"))
    return folder


def test_a_camera_with_most_of_the_images_does_not_sit_on_one_worker(cluster, skewed, tmp_path):
    def remember(name):
        verb = ["context_rcnn.cli", "remember", f"--examples={skewed / 'examples'}/*"]
        verb += [f"--extractor={skewed / 'extractor'}", "--num_shards=1"]
        return [*verb, f"--output_dir={tmp_path / name}"]

    code = ran(cluster, "remember_skewed", remember("bank"))
    assert code == 0, cluster.processes.words("remember_skewed")[-3000:]
    # Written last, once for each piece.
    done = (tmp_path / "bank").glob("_progress/parts/*/failures.jsonl")
    pieces = collections.Counter(map(cluster.engine.writer, done))
    shares = f"{pieces[0]} and {pieces[1]} of {PIECES} pieces"
    print(f"{cluster.engine.name}: one camera with {IMAGES} images: {shares} by each worker")
    assert sum(pieces.values()) == PIECES
    assert min(pieces[0], pieces[1]) >= PIECES // 4, shares
    cluster.alone(remember("alone"))
    assert bytes_of(tmp_path / "bank") == bytes_of(tmp_path / "alone")
