"""Machines that train together, as TF_CONFIG and Slurm describe them."""

import json
import re

import pytest

from context_rcnn.tasks import workers

STEP = {
    "SLURM_PROCID": "2",
    "SLURM_JOB_ID": "40123",
    "SLURM_STEP_NODELIST": "gpu[9-10],login",
    "SLURM_STEP_TASKS_PER_NODE": "1(x3)",
}


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A stand-in for Slurm's scontrol, which prints the nodes of a list in their order."""
    path = tmp_path / "scontrol"
    path.write_text(
        '#!/bin/sh\n[ "$*" = "show hostnames gpu[9-10],login" ] || { echo "what?" >&2; exit 1; }\n'
        "printf 'gpu9\\ngpu10\\nlogin\\n'\n"
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_a_step_of_slurm_describes_its_machines(scontrol):
    """By hand: 40123 modulo 20000 is 123; the order is Slurm's, not that of the alphabet."""
    environment = dict(STEP)
    workers.join(3, environment)
    assert json.loads(environment["TF_CONFIG"]) == {
        "cluster": {"worker": ["gpu9:20123", "gpu10:20123", "login:20123"]},
        "task": {"type": "worker", "index": 2},
    }


def test_tf_config_goes_before_slurm():
    known = json.dumps({"cluster": {"chief": ["a:1"], "worker": ["b:1"]}})
    environment = STEP | {"TF_CONFIG": known}
    workers.join(2, environment)
    assert environment["TF_CONFIG"] == known


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, "--ntasks-per-node=1"),
        ({"SLURM_STEP_TASKS_PER_NODE": "1,2"}, "--ntasks-per-node=1"),
        ({"SLURM_STEP_NODELIST": "another"}, "failed: what?"),
        ({"SLURM_STEP_NODELIST": None}, "SLURM_STEP_NODELIST is not: start the command with srun"),
        ({"SLURM_PROCID": None}, "nothing describes the machines"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG is not what TensorFlow expects"),
        ({"TF_CONFIG": "[]"}, "TF_CONFIG is not what TensorFlow expects"),
        ({"TF_CONFIG": '{"cluster": []}'}, "TF_CONFIG is not what TensorFlow expects"),
        (
            {"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}}'},
            "--num_workers is 3, TF_CONFIG describes 2",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(scontrol, changes, message):
    environment = {k: v for k, v in (STEP | changes).items() if v is not None}
    with pytest.raises(ValueError, match=re.escape(message)):
        workers.join(3, environment)


def test_without_scontrol_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="scontrol"):
        workers.join(3, dict(STEP))
