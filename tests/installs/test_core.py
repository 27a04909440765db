"""The core runs where nothing of training and of Beam is installed."""

import json
import os
import pathlib
import subprocess
import sys
import types

import pytest

ROOT = pathlib.Path(__file__).parents[2]
EVERYTHING = ()

# The rooms of the core: all modules of a room but those named, or these modules of it.
CORE = {
    "context_rcnn.cli": EVERYTHING,
    "context_rcnn.data": EVERYTHING,
    "context_rcnn.memory_bank": EVERYTHING,
    "context_rcnn.report": EVERYTHING,
    "context_rcnn.results": EVERYTHING,
    "context_rcnn.runners": EVERYTHING,
    "context_rcnn.simulation": EVERYTHING,
    "context_rcnn.addons": EVERYTHING,
    "context_rcnn.extras": EVERYTHING,
    "context_rcnn.export": (
        "context_rcnn.export.card",
        "context_rcnn.export.embedder",
        "context_rcnn.export.exported",
        "context_rcnn.export.serving_client",
    ),
    "context_rcnn.evaluation": (
        "context_rcnn.evaluation.coco",
        "context_rcnn.evaluation.coco_videos",
        "context_rcnn.evaluation.drawing",
        "context_rcnn.evaluation.embeddings",
        "context_rcnn.evaluation.empties",
        "context_rcnn.evaluation.majority_vote",
        "context_rcnn.evaluation.motion",
        "context_rcnn.evaluation.re_ranking",
        "context_rcnn.evaluation.reid",
        "context_rcnn.evaluation.overlaps",
        "context_rcnn.evaluation.repeat_detections",
        "context_rcnn.evaluation.seq_nms",
        "context_rcnn.evaluation.video_rows",
        "context_rcnn.evaluation.viterbi",
    ),
    "beam_pipelines": ("beam_pipelines",),
}
# What an installation of the core does not have; TensorFlow itself brings Keras 3, absl and Rich.
NOT_CORE = [
    "apache_beam",
    "array_record",
    "frictionless",
    "gin",
    "official",
    "orbit",
    "pandas",
    "scipy",
    "sklearn",
    "tensorflow_addons",
    "tensorflow_datasets",
    "tensorflow_hub",
    "tensorflow_models",
    "tensorflow_text",
    "tf_keras",
    "yaml",
    # Distributions that are not named like their modules.
    "pyyaml",
    "tf_models_official",
]

# What `context-rcnn[beam]`, an image for Beam's workers, does not have.
NOT_BEAM = [name for name in NOT_CORE if name.startswith(("official", "orbit", "t"))]

# A process that loads TensorFlow once, without what the core does not have, and runs each script in
# a child of its own, which does not find the packages that are hidden from it.
SERVER = """
import importlib, json, os, sys, tempfile, traceback

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        hidden_one = name.partition(".")[0] in hidden
        return None if hidden_one else self.finder.find_spec(name, path, target)

    def find_distributions(self, *context):
        find = getattr(self.finder, "find_distributions", lambda *context: ())
        for distribution in find(*context):
            name = distribution.metadata["Name"].lower().replace("-", "_")
            if name not in hidden:
                yield distribution

def run(script, task):
    try:
        exec(script, {"task": task, "importlib": importlib, "json": json, "sys": sys})
        return 0
    except SystemExit as stop:
        if not isinstance(stop.code, int | None):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1

sys.meta_path[:] = map(Without, sys.meta_path)
hidden = json.loads(sys.argv[1])
import tensorflow, cv2, matplotlib, numpy, PIL

for line in sys.stdin:
    hidden, script, task = json.loads(line)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            status = run(script, task)
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0), err.seek(0)
        print(json.dumps([status, out.read(), err.read()]), flush=True)
"""
IMPORT_ALL = """
failed = {}
for name in task:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
print(json.dumps(failed))
"""
RUN_VERBS = """
from context_rcnn import cli
for argv in task:
    print("===", *argv, file=sys.stderr)
    try:
        status = cli.main(argv)
    except SystemExit as stop:
        status = stop.code
    print("===", status, file=sys.stderr)
"""


def modules():
    """Names of all modules of the core."""
    for room, chosen in CORE.items():
        path = ROOT / room.replace(".", "/")
        if chosen:
            yield from chosen
        elif path.is_dir():
            for file in sorted(path.rglob("*.py")):
                parts = file.relative_to(ROOT).with_suffix("").parts
                yield ".".join(part for part in parts if part != "__init__")
        else:
            yield room


@pytest.fixture(scope="module")
def without():
    """`without(script, task)` runs a script where nothing is that the core does not need."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, json.dumps(NOT_CORE)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(script, task, hidden=NOT_CORE):
        server.stdin.write(json.dumps([hidden, script, task]) + "\n")
        server.stdin.flush()
        returncode, stdout, stderr = json.loads(server.stdout.readline())
        return types.SimpleNamespace(returncode=returncode, stdout=stdout, stderr=stderr)

    with server:
        yield run
        server.stdin.close()


RUN_PROGRAM = """
import runpy
sys.argv = ["program", *task[1:]]
runpy.run_module(task[0], run_name="__main__")
"""


def test_the_object_detection_apis_programs_say_which_extra_they_need(without):
    for program, flags in (
        ("model_main_tf2", ["--model_dir=nowhere"]),
        ("exporter_main_v2", ["--trained_checkpoint_dir=a", "--output_directory=b"]),
    ):
        done = without(RUN_PROGRAM, [f"context_rcnn.{program}", *flags])
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: this needs ")
        assert last.endswith('which is not installed: pip install "context-rcnn[train]"')


def test_every_room_of_the_core_has_modules():
    found = [name for name in modules() if not name.endswith("__main__")]
    assert len(found) == len(set(found)) > 100
    for room in CORE:
        assert any(name == room or name.startswith(f"{room}.") for name in found), room


def test_the_core_imports_without_the_extras(without):
    names = [name for name in modules() if not name.endswith("__main__")]
    done = without(IMPORT_ALL, names)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}


def test_beams_pipelines_import_without_training(without):
    files = sorted((ROOT / "beam_pipelines").glob("[!_]*.py"))
    assert len(files) > 5
    done = without(IMPORT_ALL, [f"beam_pipelines.{file.stem}" for file in files], NOT_BEAM)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}


def test_the_core_never_touches_keras():
    """`tf.keras` exists without Keras 2, and fails when something is taken from it."""
    for name in modules():
        path = ROOT / name.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert "tf.keras" not in path.read_text(encoding="utf-8"), name


def test_verbs_say_which_extra_they_need(without):
    packages = {
        "train": ("tf-models-official", "tf-keras", "pyyaml"),
        "beam": ("apache-beam",),
    }
    verbs = [
        (["train", "--experiment=faster_rcnn_tiny", "--model_dir=nowhere"], "train"),
        (["extractor", "--model_dir=nowhere", "--output_dir=nowhere"], "train"),
        (["explain", "--model_dir=nowhere", "--output=nowhere"], "train"),
        (["export", "--model_dir=nowhere", "--output_dir=nowhere"], "train"),
        (
            ["convert", "--checkpoint=a", "--pipeline_config=b", "--label_map=c", "--model_dir=d"],
            "train",
        ),
        (["examples", "--input_folder=nowhere", "--output_dir=nowhere"], "beam"),
        (["remember", "--input_folder=nowhere", "--output_dir=nowhere"], "beam"),
        (["bank", "copy", "gs://nowhere", "nowhere"], "beam"),
        (["demo", "--output_dir=build/nowhere"], "train"),
    ]
    done = without(RUN_VERBS, [argv for argv, _ in verbs])
    assert "Traceback" not in done.stderr, done.stderr
    parts = done.stderr.split("=== ")[1:]
    for (argv, extra), text, status in zip(verbs, parts[::2], parts[1::2], strict=True):
        assert text.startswith(" ".join(argv)) and status == "2\n", text
        assert f"context-rcnn {argv[0]}: error: this needs " in text
        assert any(f"{name}, which is not installed: " in text for name in packages[extra])
        assert f'pip install "context-rcnn[{extra}]"' in text


@pytest.mark.whole
def test_doctor_is_content_with_the_core(without):
    done = without(RUN_VERBS, [["doctor"]])
    assert done.stderr.endswith("=== 0\n"), done.stdout + done.stderr
    assert "/device:CPU:0 works" in done.stdout and "All is well." in done.stdout
    assert 'not installed; pip install "context-rcnn[train]"' in done.stdout
    assert "examples, remember, features, bank copy: not installed" in done.stdout
    assert "tf-models-official loads" not in done.stdout
