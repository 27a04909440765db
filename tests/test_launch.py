"""The scripts that start a run on other machines, with stand-ins for the programs they call."""

import json
import os
import pathlib
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[1]
TPU = ROOT / "tpu/launch.sh"
RUN = ("settings.yaml", "gs://mine/run")

# Answers as `gcloud compute tpus tpu-vm` does; the machine is a folder, its state a file.
GCLOUD = r"""#!/usr/bin/env bash
shift 3
echo "$*" | head -n 1 >> "$WORLD/calls"
case $1 in
  describe)
    case "$*" in
      *networkEndpoints*) cat "$WORLD/machines" ;;
      *) cat "$WORLD/state" ;;
    esac ;;
  create) echo READY > "$WORLD/state"; mkdir -p "$WORLD/home" ;;
  start) echo READY > "$WORLD/state" ;;
  delete) rm -rf "$WORLD/state" "$WORLD/home" ;;
  scp) cp "$2" "$WORLD/home" ;;
  ssh) for last; do :; done; cd "$WORLD/home" && bash -c "${last#--command=}" ;;
esac
"""
TMUX = r"""#!/usr/bin/env bash
case $1 in
  has-session) [ -e "$WORLD/busy" ] ;;
  new-session) bash -c "${@: -1}" ;;
esac
"""
PYTHON = r"""#!/usr/bin/env bash
echo "TPU_NAME=${TPU_NAME:-} TF_CONFIG=${TF_CONFIG:-} $*" >> "$WORLD/python"
[ "$2" != pip ] || exit 0
echo "step 1"
[ ! -e "$WORLD/taken" ] || { rm "$WORLD/taken"; echo PREEMPTED > "$WORLD/state"; exit 137; }
exit "$(cat "$WORLD/status" 2>/dev/null || echo 0)"
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder with the stand-ins; `world / "calls"` has what gcloud was asked."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("gcloud", GCLOUD), ("tmux", TMUX), ("python3", PYTHON), ("python", PYTHON)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("WORLD", str(tmp_path))
    monkeypatch.setenv("PATH", f"{programs}:/usr/local/bin:/usr/bin:/bin")
    monkeypatch.setenv("POLL", "0")
    (tmp_path / "machines").write_text("1\n")
    return tmp_path


def start(*argv, **environment):
    command = [TPU, *argv]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, timeout=120
    )


def calls(world, first):
    return [line for line in (world / "calls").read_text().splitlines() if line.startswith(first)]


def trained(world):
    lines = (world / "python").read_text().splitlines()
    return [line for line in lines if "model_main_tf2" in line]


@pytest.mark.parametrize(
    "kind, image",
    [
        ("v3-8", "tpu-ubuntu2204-base"),
        ("v5litepod-8", "v2-alpha-tpuv5-lite"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v6e-8", "v2-alpha-tpuv6e"),
    ],
)
def test_a_tpu_is_made_installed_and_trained_on(world, kind, image):
    result = start("up", "traps", "here", kind, *RUN, SPOT="1")
    assert result.returncode == 0, result.stderr
    assert calls(world, "create") == [
        f"create traps --zone=here --accelerator-type={kind} --version={image} --spot"
    ]
    assert (world / "home/context-rcnn/setup.py").exists()
    (line,) = trained(world)
    expected = "--use_tpu --config_file=settings.yaml --model_dir=gs://mine/run"
    assert line.endswith(f"-m context_rcnn.model_main_tf2 {expected}")
    assert (world / "home/context-rcnn/train.log").read_text() == "step 1\n"
    assert (world / "home/context-rcnn/train.status").read_text() == "0\n"


def test_a_run_that_goes_on_is_left_alone(world):
    (world / "busy").touch()
    assert start("up", "traps", "here", "v3-8", *RUN).returncode == 0
    assert start("up", "traps", "here", "v3-8", *RUN).returncode == 0
    assert len(calls(world, "create")) == 1 and not trained(world)


@pytest.mark.parametrize("status", [0, 3])
def test_a_machine_that_is_taken_away_is_made_again(world, status):
    (world / "taken").touch()
    (world / "status").write_text(str(status))
    result = start("keep", "traps", "here", "v6e-8", *RUN)
    assert result.returncode == status, result.stderr
    assert len(calls(world, "create")) == 2 and len(calls(world, "delete")) == 1
    assert len(trained(world)) == 2 and len(set(trained(world))) == 1  # the command that resumes
    assert "it is made again" in result.stdout and f"status {status}" in result.stdout


def test_a_run_that_cannot_be_started_ends(world):
    (world / "bin/tmux").write_text("#!/bin/sh\nexit 1\n")
    assert start("keep", "traps", "here", "v6e-8", *RUN).returncode == 1
    assert len(calls(world, "create")) == 1


def test_several_machines_need_tensorflows_server(world):
    (world / "machines").write_text("4\n")
    result = start("up", "traps", "here", "v4-32", *RUN)
    assert result.returncode == 2 and "RUNTIME" in result.stderr
    result = start("up", "traps", "here", "v4-32", *RUN, RUNTIME="tpu-vm-tf-2.20.0-pod-pjrt")
    assert result.returncode == 0, result.stderr
    (line,) = trained(world)
    assert line.startswith("TPU_NAME=traps ") and "--use_tpu --tpu_name=traps " in line


def test_it_is_followed_and_given_back(world):
    assert start("up", "traps", "here", "v3-8", *RUN).returncode == 0
    assert start("delete", "traps", "here").returncode == 0
    assert calls(world, "delete") == ["delete traps --zone=here --quiet"]
    for wrong in ([], ["up", "traps"], ["delete"], ["away", "traps", "here"]):
        result = start(*wrong)
        assert result.returncode == 2 and "tpu/launch.sh keep" in result.stdout


def test_slurm_starts_one_process_a_node(world):
    srun = world / "bin/srun"
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    command = ["bash", ROOT / "launch/slurm.sh", *RUN, "--num_train_steps=9"]
    environment = os.environ | {"SLURM_JOB_NUM_NODES": "4"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert result.stdout.splitlines() == [
        "--kill-on-bad-exit=1",
        "python",
        "-m",
        "context_rcnn.model_main_tf2",
        "--num_workers=4",
        "--config_file=settings.yaml",
        "--model_dir=gs://mine/run",
        "--num_train_steps=9",
    ]
    lines = (ROOT / "launch/slurm.sh").read_text().splitlines()
    assert "#SBATCH --ntasks-per-node=1" in lines
    usage = subprocess.run(command[:2], capture_output=True, text=True)
    assert usage.returncode == 2 and "sbatch" in usage.stdout


def test_pods_of_kubernetes_know_each_other(world):
    service, job = yaml.safe_load_all((ROOT / "launch/kubernetes.yaml").read_text())
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert spec["completionMode"] == "Indexed" and service["spec"]["clusterIP"] == "None"
    assert spec["completions"] == spec["parallelism"] == int(variables["WORKERS"])
    assert pod["subdomain"] == service["metadata"]["name"]
    environment = os.environ | variables | {"WORKERS": "3", "JOB_COMPLETION_INDEX": "1"}
    command = [*container["command"], *container["args"]]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    _, _, line = (world / "python").read_text().strip().partition("TF_CONFIG=")
    described, _, rest = line.partition(" -m ")
    name, port = job["metadata"]["name"], container["ports"][0]["containerPort"]
    assert json.loads(described) == {
        "cluster": {"worker": [f"{name}-{i}.{pod['subdomain']}:{port}" for i in range(3)]},
        "task": {"type": "worker", "index": 1},
    }
    assert rest.startswith("context_rcnn.model_main_tf2 --num_workers=3 ")


@pytest.mark.parametrize("script", ["tpu/launch.sh", "tpu/install.sh", "launch/slurm.sh"])
def test_scripts_are_valid(script):
    subprocess.run(["bash", "-n", ROOT / script], check=True)
    assert os.access(ROOT / script, os.X_OK)
