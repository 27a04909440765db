"""An exported model of videos steps through them as the trained one does, in a fresh process."""

import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn import cli
from context_rcnn.data.images import ImageOptions, check_image
from context_rcnn.export import exported as exported_lib
from context_rcnn.export.export import export_run
from context_rcnn.export.extractor import prepare_images
from context_rcnn.models.streaming import Frame
from context_rcnn.models.temporal import make
from context_rcnn.runners.session import Session
from context_rcnn.runners.videos.frames import shuffled
from tests.export.conftest import SIZE

NAMES = ("boxes", "scores", "classes")
# Two videos side by side, of three frames and of two: which photograph, if there is a frame, and
# whether the video has ended.
FRAMES = [(0, 1), (1, 2), (2, None), (None, None)]
ENDED = [(False, False), (False, False), (False, True), (True, False)]


@pytest.fixture(scope="module", params=["offline", pytest.param("online", marks=pytest.mark.slow)])
def video_run(request, make_run):
    mega = {
        "depth": 16,
        "heads": 2,
        "local_modules": 2,
        "local_frames": 3,
        "memory_frames": 2,
        "global_frames": 2,
        "reference_boxes": 6,
        "kept_boxes": 3,
        "online": request.param == "online",
    }
    model = {
        "image_size": list(SIZE),
        "keep_aspect_ratio": True,
        "backbone": {"depth_multiplier": 0.125, "kind": "dc5"},
        "proposals": {"count": 12},
        "boxes": {"hidden": [16]},
        "detections": {"count": 8},
    }
    return make_run({"type": "mega", "mega": mega}, model=model)


@pytest.fixture(scope="module")
def exported(video_run, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("video"))
    description = export_run(video_run.folder, folder)
    model = exported_lib.ExportedModel(folder)
    return types.SimpleNamespace(folder=folder, description=description, model=model)


@pytest.fixture(autouse=True)
def load_once(monkeypatch, exported):
    """Loading a model takes seconds; the commands get the one that is loaded."""
    models = {exported.folder: exported.model}
    monkeypatch.setattr(exported_lib, "ExportedModel", models.__getitem__)


def images_of(photographs, row):
    return [b"" if i is None else photographs[i] for i in row]


def steps(photographs):
    """Encoded frames, whether there are, whether the video has ended."""
    for row, ended in zip(FRAMES, ENDED, strict=True):
        yield images_of(photographs, row), [i is not None for i in row], list(ended)


@pytest.fixture(scope="module")
def expected(video_run, photographs):
    """What the trained model's own stream finds, step by step."""
    temporal = video_run.config.task.temporal
    stream = make(temporal).stream(video_run.model)
    state, found = stream.initial_state(2), []
    for encoded, valid, ended in steps(photographs):
        shown = [image or photographs[0] for image in encoded]
        images, shapes = prepare_images(tf.constant(shown), SIZE, True)
        frame = Frame(images, shapes, tf.constant([5, 6], tf.int64), tf.constant(valid))
        elsewhere = None if temporal.get().online else frame
        frame = frame._replace(ended=tf.constant(ended), elsewhere=elsewhere)
        detections, state = stream.step(frame, state)
        sides = np.tile(detections["image_shape"], 2)[:, None]
        detections["detection_boxes"] = detections["detection_boxes"] / sides
        found.append({name: np.asarray(value) for name, value in detections.items()})
    return found


@pytest.mark.whole
def test_an_exported_model_finds_what_the_trained_one_finds(exported, expected, photographs):
    model = exported.model
    state, seen = model.initial_state(2), set()
    for (encoded, valid, ended), wanted in zip(steps(photographs), expected, strict=True):
        elsewhere = encoded if needs_elsewhere(exported.description) else None
        found, state = model.step(
            encoded, np.array([5, 6]), valid, state, ended=ended, elsewhere=elsewhere
        )
        np.testing.assert_array_equal(found["frame"], wanted["frame"])
        for name in NAMES:
            np.testing.assert_allclose(
                found[name], wanted[f"detection_{name}"], rtol=1e-5, atol=1e-4, err_msg=name
            )
        seen |= {(row, frame) for row, frame in enumerate(found["frame"]) if frame >= 0}
        assert (found["scores"][found["frame"] >= 0] >= 0).any(axis=1).all()
    assert seen == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)}


@pytest.mark.whole
def test_a_session_gives_each_frame_of_a_video_what_step_gives(exported, photographs):
    model, latency = exported.model, exported.description["stream"]["latency"]
    anywhere = needs_elsewhere(exported.description)
    # As runs have images: a PNG becomes a JPEG.
    frames = [check_image(image, ImageOptions()).encoded for image in photographs]
    state, expected = model.initial_state(1), []
    for t in range(len(frames) + latency):
        there = t < len(frames)
        image = [frames[t] if there else b""]
        given = {"elsewhere": image, "elsewhere_valid": [there]} if anywhere else {}
        found, state = model.step(image, [5], [there], state, ended=[not there], **given)
        expected += [found] if found["frame"][0] >= 0 else []
    session = Session(model, "clip")
    found = [session(frame, elsewhere=frame if anywhere else None) for frame in frames]
    found = [*found[latency:], *session.finish()]
    assert [one.frame for one in found] == [0, 1, 2] and len(found[0])
    for one, wanted in zip(found, expected, strict=True):
        kept = wanted["scores"][0] >= 0.005
        for name in NAMES:
            np.testing.assert_allclose(getattr(one, name), wanted[name][0][kept], atol=1e-6)
    assert session.nbytes == sum(np.asarray(value).nbytes for value in state.values())


def needs_elsewhere(description):
    return "elsewhere" in description["stream"]["inputs"]


FRESH = """
import sys
import numpy as np, tensorflow as tf

folder, inputs = sys.argv[1:]
inputs = dict(np.load(inputs))
images = [inputs[f"image{i}"].tobytes() for i in range(3)]
model = tf.saved_model.load(folder)
step = model.signatures["step"]
state = model.signatures["initial_state"](batch_size=tf.constant(2))
outputs = {}
for t, row in enumerate(inputs["frames"]):
    encoded = tf.constant([images[i] if i >= 0 else b"" for i in row])
    frame = dict(encoded_images=encoded, rows=tf.constant([5, 6], tf.int64),
                 valid=tf.constant(row >= 0))
    if inputs["elsewhere"]:
        frame |= dict(ended=tf.constant(inputs["ended"][t]),
                      elsewhere_images=encoded, elsewhere_valid=tf.constant(row >= 0))
    found = step(**frame, **state)
    state = {name: found.pop(name) for name in list(found) if name.startswith("state_")}
    outputs |= {f"{t}/{name}": value.numpy() for name, value in found.items()}
assert not {"context_rcnn", "official", "tf_keras"} & set(sys.modules)
np.savez(inputs["output"].item(), **outputs)
"""


@pytest.mark.slow  # that a fresh process gets what the model finds, test_export holds
def test_a_process_with_tensorflow_alone_steps_through_videos(
    exported, expected, photographs, tmp_path
):
    np.savez(
        tmp_path / "inputs.npz",
        frames=[[-1 if i is None else i for i in row] for row in FRAMES],
        ended=ENDED,
        elsewhere=needs_elsewhere(exported.description),
        output=str(tmp_path / "outputs.npz"),
        **{f"image{i}": np.frombuffer(image, np.uint8) for i, image in enumerate(photographs)},
    )
    command = [sys.executable, "-c", FRESH, f"{exported.folder}/saved_model"]
    result = subprocess.run(
        [*command, tmp_path / "inputs.npz"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"},
    )
    assert not result.returncode, result.stderr
    found = np.load(tmp_path / "outputs.npz")
    for t, wanted in enumerate(expected):
        np.testing.assert_array_equal(found[f"{t}/frame"], wanted["frame"])
        for name in NAMES:
            np.testing.assert_allclose(
                found[f"{t}/detection_{name}"], wanted[f"detection_{name}"], rtol=1e-5, atol=1e-4
            )


@pytest.mark.whole
def test_a_description_says_what_a_stream_needs(exported, video_run):
    online = video_run.config.task.temporal.get().online
    assert exported.description["stream"] == {
        "inputs": [] if online else ["ended", "elsewhere"],
        "latency": 0 if online else 1,
        "seed": 0,
    } | ({} if online else {"looks": True})


@pytest.mark.whole
def test_single_images_can_be_asked_about_too(exported, video_run, photographs):
    found = exported.model.detect(photographs[:1])
    images, shapes = prepare_images(tf.constant(photographs[:1]), SIZE, True)
    wanted = video_run.model(images, shapes, training=False)
    np.testing.assert_allclose(found["scores"], wanted["detection_scores"], rtol=1e-5, atol=1e-4)


@pytest.mark.whole
def test_what_is_missing_or_too_much_is_said(exported, photographs):
    model = exported.model
    state = model.initial_state(1)
    needed = needs_elsewhere(exported.description)
    words = "needs elsewhere" if needed else "does not take elsewhere"
    with pytest.raises(ValueError, match=words):
        elsewhere = None if needed else photographs[:1]
        model.step(photographs[:1], [1], [True], state, elsewhere=elsewhere)
    elsewhere = photographs[:1] if needed else None
    with pytest.raises(ValueError, match="does not take seconds"):
        model.step(photographs[:1], [1], [True], state, seconds=[0], elsewhere=elsewhere)


@pytest.mark.whole
def test_a_folder_of_videos_goes_through_it(exported, video_run, photographs, tmp_path, capsys):
    """`context-rcnn videos` gives each frame what the trained model's stream gives the video."""
    clips = {"a": [0, 2, 2, 0], "b": [2], "c": [2, 0, 0]}  # JPEGs, which stay as they are
    for name, frames in clips.items():
        for i, photograph in enumerate(frames):
            path = tmp_path / "clips" / name / f"{i:06d}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photographs[photograph])
    flags = ["--model", exported.folder, "--batch_size", "2", "--threshold", "0"]
    output = tmp_path / "results.json"
    assert cli.main(["videos", str(tmp_path / "clips"), *flags, "-o", str(output)]) == 0
    entries = json.loads(output.read_text())["images"]
    found = {entry["file"]: [d["conf"] for d in entry["detections"]] for entry in entries}
    assert len(found) == sum(map(len, clips.values()))

    temporal = video_run.config.task.temporal
    stream = make(temporal).stream(video_run.model)
    for number, (name, frames) in enumerate(clips.items()):
        files = [f"{name}/{i:06d}.JPEG" for i in range(len(frames))]
        order = [files.index(file) for file, _ in shuffled([(f, f) for f in files], 0, name)]
        state = stream.initial_state(1)
        for t in range(len(frames) + stream.latency):
            there, at = t < len(frames), min(t, len(frames) - 1)
            new, other = (
                prepare_images(tf.constant([photographs[frames[i]]]), SIZE, True)
                for i in (at, order[at])
            )
            row, valid = tf.constant([number], tf.int64), tf.constant([there])
            elsewhere = None if temporal.get().online else Frame(*other, row, valid)
            frame = Frame(*new, row, valid, ended=~valid, elsewhere=elsewhere)
            detections, state = stream.step(frame, state)
            if t >= stream.latency:
                scores = detections["detection_scores"][0].numpy()
                scores = np.sort(scores[scores >= 0])
                kept = sorted(found[files[t - stream.latency]])
                np.testing.assert_allclose(kept, scores, atol=6e-4)  # of three digits


@pytest.mark.whole
def test_no_frame_of_a_folder_is_looked_at_twice(exported, photographs, tmp_path, monkeypatch):
    if not exported.description["stream"].get("looks"):
        pytest.skip("online, every frame comes once")
    model, looked = exported.model, []
    look = model.look
    monkeypatch.setattr(
        model, "look", lambda images, there: looked.extend(images) or look(images, there)
    )
    monkeypatch.setattr(model, "step", lambda *_, **__: pytest.fail("a step that looks by itself"))
    for i, pad in enumerate([b"", b"\0", b"\0\0", b"\0\0\0"]):  # each another file
        path = tmp_path / "clips" / "a" / f"{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photographs[2] + pad)
    flags = ["--model", exported.folder, "--batch_size", "1", "-o", str(tmp_path / "results.json")]
    assert cli.main(["videos", str(tmp_path / "clips"), *flags]) == 0
    seen = [image for image in looked if image.startswith(photographs[2])]
    assert len(seen) == len(set(seen)) == 4
    assert len([image for image in looked if image]) == 5  # with the grey one that tries the model


@pytest.mark.whole
def test_single_images_are_refused_where_videos_are_meant(exported, photographs, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(photographs[0])
    detect = ["detect", str(tmp_path / "photos"), "--model", exported.folder]
    assert cli.main(detect) == 2
    assert "`context-rcnn videos`" in capsys.readouterr().err
    assert cli.main([*detect, "--no_memory"]) == 0
    watch = ["watch", str(tmp_path / "photos"), "--model", exported.folder, "--once"]
    assert cli.main([*watch, "--state", str(tmp_path / "state")]) == 2
    assert "`context-rcnn videos`" in capsys.readouterr().err
