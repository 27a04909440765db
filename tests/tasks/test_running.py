"""Runs as people start them: resumed, killed, on two devices, on two machines."""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys

import pytest
import tensorflow as tf
import yaml
from absl import flags
from absl.testing import flagsaver

from context_rcnn import model_main_tf2
from context_rcnn.configs import schema
from context_rcnn.tasks import running
from context_rcnn.tasks.controller import Controller
from context_rcnn.tasks.detection import DetectionTask
from tests.tasks.processes import start_workers


def load(config_file, overrides=""):
    return schema.load_experiment(config_files=[str(config_file)], overrides=overrides)


def metrics_of(model_dir, step):
    return json.loads((model_dir / "evaluation" / f"step-{step}" / "metrics.json").read_text())


@pytest.fixture(scope="session")
def traced():
    """How often a training step was traced, by folder of the run."""
    return {}


@pytest.fixture(scope="session")
def finished_run(settings, tmp_path_factory, traced):
    """A run of six steps with its evaluation, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    output, train_step = io.StringIO(), DetectionTask.train_step
    with contextlib.redirect_stdout(output), pytest.MonkeyPatch.context() as patch:

        def counted(*args, **options):
            traced[folder] = traced.get(folder, 0) + 1
            return train_step(*args, **options)

        patch.setattr(DetectionTask, "train_step", counted)
        running.run(load(folder / "settings.yaml"), mode="train_and_eval", model_dir=str(folder))
    return folder, output.getvalue()


@pytest.fixture(scope="session")
def killed_run(start_main, settings, tmp_path_factory):
    """A run in a process that was killed after six steps of many, and the lines it printed."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    process = start_main(
        f"--pipeline_config_path={folder}/settings.yaml",
        f"--model_dir={folder}/run",
        "--num_train_steps=400",
        "--mode=train",
    )
    printed = []
    for line in process.stdout:
        printed.append(line)
        if "train  step 6/" in line:
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    assert "train  step 6/" in printed[-1], "".join(printed)
    return folder, printed


@pytest.mark.whole
def test_a_run_leaves_checkpoints_metrics_pictures_and_summaries(finished_run):
    folder, output = finished_run
    assert tf.train.latest_checkpoint(str(folder)).endswith("ckpt-6")
    evaluation = folder / "evaluation" / "step-6"
    for name in ("metrics.json", "metrics.txt", "contact_sheet.png", "detections_coco.json"):
        assert (evaluation / name).stat().st_size > 0, name
    tags = set()
    for file in (folder / "validation").glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            tags |= {value.tag for value in event.summary.value}
    assert "mAP@.5" in tags and any(tag.startswith("detections/") for tag in tags)
    assert (folder / "best_checkpoint" / "info.json").exists()
    assert "train  step 6/6 (100%)" in output and "images/s" in output and "ETA" in output


@pytest.mark.whole
def test_a_step_is_traced_once(finished_run, traced):
    """Not once more for variables that its first trace has created."""
    assert traced[finished_run[0]] == 1


@pytest.mark.whole
def test_every_labelled_validation_image_is_measured(finished_run, examples_dir):
    folder, _ = finished_run
    manifest = json.loads((examples_dir / "manifest.json").read_text())
    total = manifest["splits"]["val"]["total"]["images"]
    assert metrics_of(folder, 6)["images"] == -(-total // 4)  # sample_1_of_n: 4


@pytest.mark.slow  # that a run goes on where it was, the one that is killed shows
def test_a_longer_run_in_the_same_folder_resumes(finished_run, config_file, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished_run[0], folder)
    running.run(load(config_file, "trainer.train_steps=8"), mode="train", model_dir=str(folder))
    output = capsys.readouterr().out
    assert "restored step 6" in output and "train  step 8/8" in output
    assert "step 2/" not in output


@pytest.mark.whole
def test_one_shot_evaluation_gives_the_same_numbers_and_ends(finished_run, config_file, tmp_path):
    folder, _ = finished_run
    running.run(
        load(config_file), mode="eval", model_dir=str(tmp_path / "eval"), checkpoint=str(folder)
    )
    assert metrics_of(tmp_path / "eval", 6) == metrics_of(folder, 6)


@pytest.mark.slow  # that it evaluates, the one of one shot shows, and that it ends, the timeout
def test_continuous_evaluation_ends_at_the_last_step(finished_run, config_file, tmp_path):
    folder, _ = finished_run
    running.run(
        load(config_file),
        mode="continuous_eval",
        model_dir=str(tmp_path),
        checkpoint=str(folder),
        eval_timeout=60,
    )
    assert metrics_of(tmp_path, 6) == metrics_of(folder, 6)


def test_continuous_evaluation_ends_at_the_timeout(config_file, tmp_path, capsys):
    empty = tmp_path / "nothing"
    empty.mkdir()
    running.run(
        load(config_file),
        mode="continuous_eval",
        model_dir=str(tmp_path / "eval"),
        checkpoint=str(empty),
        eval_timeout=1,
    )
    assert "no new checkpoint for 1 seconds" in capsys.readouterr().out


def test_evaluating_an_empty_folder_is_an_error(config_file, tmp_path):
    with pytest.raises(ValueError, match="no checkpoint in the folder"):
        running.run(load(config_file), mode="eval", model_dir=str(tmp_path))


@pytest.mark.whole
def test_evaluating_looks_only_where_it_is_told(finished_run, config_file, tmp_path, monkeypatch):
    """Not into the current folder, though it holds a checkpoint (of another model, here)."""
    monkeypatch.chdir(finished_run[0])
    config = load(config_file, "task.model.backbone.model_id=18")
    with pytest.raises(ValueError, match="no checkpoint in the folder"):
        running.run(config, mode="eval", model_dir=str(tmp_path))


@pytest.mark.whole
def test_an_evaluation_leaves_the_settings_of_the_run_alone(
    finished_run, config_file, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    shutil.copytree(finished_run[0], folder)
    before = (folder / "params.yaml").read_bytes()
    config = load(config_file, "task.validation_data.sample_1_of_n=9")
    evaluated = []
    monkeypatch.setattr(running.Controller, "evaluate", lambda *_, **__: evaluated.append(1))
    running.run(config, mode="eval", model_dir=str(folder))
    assert evaluated and (folder / "params.yaml").read_bytes() == before


@pytest.mark.whole
def test_a_checkpoint_of_another_model_is_refused(finished_run, config_file):
    folder, _ = finished_run
    config = load(config_file, "task.model.backbone.model_id=18")
    with pytest.raises(ValueError, match="checkpoint of another model"):
        running.run(config, mode="eval", model_dir=str(folder / "x"), checkpoint=str(folder))


def losses_of(lines):
    """What was printed of the losses, by the number of steps."""
    rows = [line.split("  ") for line in lines if line.startswith("train  step")]
    return {int(row[1].split()[1].split("/")[0]): row[2] for row in rows}


@pytest.mark.whole
def test_equal_seeds_give_equal_losses(finished_run, killed_run):
    """In another process, of a run that is to take more steps."""
    found, expected = losses_of(killed_run[1]), losses_of(finished_run[1].splitlines())
    assert found == expected and list(found) == [2, 4, 6] and len(set(found.values())) == 3


def test_early_stopping_counts_evaluations_of_earlier_runs(tmp_path):
    controller = object.__new__(Controller)
    controller._patience, controller._sign, controller._metric = 2, 1, "mAP@.5"
    controller._show_progress = False
    for values, stop in (
        ([0.1, 0.2], False),
        ([0.3, 0.2, 0.25], True),
        ([0.3, 0.2, 0.35], False),
        ([0.3, None, 0.2], False),
    ):
        for step, value in enumerate(values):
            folder = tmp_path / str(values) / "evaluation" / f"step-{step}"
            folder.mkdir(parents=True)
            (folder / "metrics.json").write_text(json.dumps({"step": step, "mAP@.5": value}))
        history = running.read_history(str(tmp_path / str(values)), "mAP@.5")
        controller._history = [(row["step"], row["mAP@.5"]) for row in history]
        assert controller.should_stop() == stop, values


def run_main(*argv):
    """`model_main_tf2` in this process."""
    with flagsaver.flagsaver():
        flags.FLAGS(["main", *argv])
        model_main_tf2.main(["main"])


@pytest.mark.whole
def test_a_run_killed_at_any_moment_goes_on_where_it_was(killed_run, capsys):
    folder, _ = killed_run
    reached = int(tf.train.latest_checkpoint(str(folder / "run")).rsplit("-", 1)[1])
    assert 4 <= reached < 400
    goal = reached + 2
    run_main(
        f"--pipeline_config_path={folder}/settings.yaml",
        f"--model_dir={folder}/run",
        f"--num_train_steps={goal}",
        "--mode=train",
    )
    output = capsys.readouterr().out
    assert f"restored step {reached}" in output, output[-2000:]
    assert list(losses_of(output.splitlines())) == [goal], output[-2000:]


def test_bad_settings_end_in_one_line_not_in_a_traceback(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("experiment: faster_rcnn_tiny\ntask: {model: {num_clases: 3}}\n")
    message = "^error: .*no setting task.model.num_clases; did you mean task.model.num_classes"
    with pytest.raises(SystemExit, match=message):
        run_main(f"--config_file={bad}", f"--model_dir={tmp_path}")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{}/nope-*", r"task.train_data.input_path: no file matches .*has train-00000-of-\S+"),
        ("{}/elsewhere/train-*", "no file matches .*no files that end in .tfrecord"),
        ("{}/alone/x.tfrecord", "label_map is not set, and there is no .*alone/label_map.pbtxt"),
    ],
)
def test_missing_files_end_in_one_line_not_in_a_traceback(examples_dir, tmp_path, pattern, message):
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/x.tfrecord").touch()
    folder = tmp_path if "alone" in pattern else examples_dir
    overrides = f"task.train_data.input_path={pattern.format(folder)}"
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        flags = ["--experiment=faster_rcnn_tiny", f"--model_dir={tmp_path}/run", "--mode=train"]
        run_main(*flags, f"--params_override={overrides}")


def test_patterns_of_the_detection_api_match_our_files(examples_dir):
    from context_rcnn.data.input import find_files

    files = find_files(f"{examples_dir}/train-?????-of-?????")
    assert files and files == find_files(f"{examples_dir}/train-*")


TWO_DEVICES = """
import sys
import context_rcnn
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # it takes long
from context_rcnn.configs import schema
from context_rcnn.tasks import running
from context_rcnn.tasks.detection import DetectionTask
config = schema.load_experiment(config_files=[sys.argv[1]])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
for name in ("train_step", "validation_step"):
    def step(self, inputs, *args, name=name, step=getattr(DetectionTask, name), **options):
        print(name, "of", inputs["image"].shape[0], "images")
        return step(self, inputs, *args, **options)
    setattr(DetectionTask, name, step)
running.run(config, mode="train_and_eval", model_dir=sys.argv[2], strategy=strategy)
"""


@pytest.mark.whole
def test_two_devices_train_and_evaluate_all_images(finished_run, config_file, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, str(config_file), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "MirroredStrategy, 2 replicas" in result.stdout
    for step in ("train_step", "validation_step"):  # each replica has half of a global batch of 4
        assert f"{step} of 2 images" in result.stdout and f"{step} of 4" not in result.stdout
    assert metrics_of(tmp_path / "run", 6)["images"] == metrics_of(finished_run[0], 6)["images"]


def assert_two_workers_train_and_evaluate(start_main, config_file, folder, tmp_path, reached=0):
    """Both go on from the step that was reached, and measure what one process does."""
    goal = reached + 2
    flags = [f"--pipeline_config_path={config_file}", f"--model_dir={folder}"]
    workers = start_workers(
        start_main, *flags, f"--num_train_steps={goal}", "--mode=train_and_eval"
    )
    outputs = [worker.communicate(timeout=600)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs[1][-3000:]
    assert not reached or f"restored step {reached}" in outputs[0]
    assert f"train  step {goal}/{goal}" in outputs[0]
    assert os.path.exists(folder / f"ckpt-{goal}.index")
    running.run(
        load(config_file), mode="eval", model_dir=str(tmp_path / "one"), checkpoint=str(folder)
    )
    alone, together = metrics_of(tmp_path / "one", goal), metrics_of(folder, goal)
    assert together["images"] == alone["images"]
    assert together["images_without_detections"] == alone["images_without_detections"]
    assert together["mAP@.5"] == pytest.approx(alone["mAP@.5"], abs=1e-6)


@pytest.mark.slow
def test_two_workers_train_and_evaluate_alike(start_main, config_file, tmp_path):
    """On loopback: both see all evaluation images."""
    assert_two_workers_train_and_evaluate(start_main, config_file, tmp_path / "run", tmp_path)


@pytest.mark.slow
def test_two_workers_go_on_after_a_kill(start_main, config_file, tmp_path):
    """Both from the same step."""
    folder = tmp_path / "run"
    flags = [f"--pipeline_config_path={config_file}", f"--model_dir={folder}"]
    workers = start_workers(start_main, *flags, "--num_train_steps=400", "--mode=train")
    printed = []
    for line in workers[0].stdout:
        printed.append(line)
        if "train  step 4/" in line:
            break
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    assert "train  step 4/" in printed[-1], "".join(printed)
    reached = int(tf.train.latest_checkpoint(str(folder)).rsplit("-", 1)[1])
    assert_two_workers_train_and_evaluate(start_main, config_file, folder, tmp_path, reached)


def total_losses(lines):
    """The whole loss by the number of steps."""
    return {step: float(text.split()[1]) for step, text in losses_of(lines).items()}


@pytest.mark.slow
def test_ten_kills_of_a_worker_end_as_a_run_without(start_main, config_file, tmp_path):
    """At random; the other worker ends by itself, with an error, and both begin again."""
    rng, goal, reached = random.Random(7), 200, [0]

    def start(name):
        flags = [f"--pipeline_config_path={config_file}", f"--model_dir={tmp_path / name}"]
        return start_workers(start_main, *flags, f"--num_train_steps={goal}", "--mode=train")

    for _ in range(10):
        workers, loops = start("killed"), rng.randrange(1, 4)
        for line in workers[0].stdout:
            loops -= line.startswith("train  step")
            if not loops:
                break
        victim = rng.randrange(2)
        workers[victim].kill()
        said = workers[1 - victim].communicate(timeout=300)[0]
        workers[victim].communicate()
        assert not loops and workers[1 - victim].returncode > 0, said[-2000:]
        reached.append(int(tf.train.latest_checkpoint(str(tmp_path / "killed")).rsplit("-", 1)[1]))
    assert reached == sorted(reached) and 10 <= reached[-1] < goal, reached

    last = {}
    for name in ("killed", "whole"):
        workers = start(name)
        outputs = [worker.communicate(timeout=900)[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0], outputs[0][-3000:]
        assert os.path.exists(tmp_path / name / f"ckpt-{goal}.index")
        losses = total_losses(outputs[0].splitlines())
        last[name] = statistics.mean(loss for step, loss in losses.items() if step > goal - 40)
        noise = statistics.stdev(loss for step, loss in losses.items() if step > goal - 40)
    assert last["killed"] == pytest.approx(last["whole"], abs=2 * noise)
