"""Which machines train together: what TF_CONFIG says, or what Slurm says of a job's step."""

import json
import os
import re
import subprocess
from collections.abc import MutableMapping

TF_CONFIG = "TF_CONFIG"
_PORTS = range(20_000, 40_000)


def join(num_workers: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Makes sure that TF_CONFIG describes so many machines; in a step of Slurm it is made here.

    Raises:
        ValueError: If nothing describes the machines, or another number of them is described.
    """
    if TF_CONFIG not in environment and "SLURM_PROCID" in environment:
        environment[TF_CONFIG] = json.dumps(of_slurm(environment))
    if TF_CONFIG not in environment:
        raise ValueError(
            f"--num_workers={num_workers}: nothing describes the machines. Set {TF_CONFIG} on each "
            "(docs/scaling.md), or start the command with Slurm's srun"
        )
    try:
        cluster = json.loads(environment[TF_CONFIG])["cluster"]
        found = len(cluster.get("chief", [])) + len(cluster.get("worker", []))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{TF_CONFIG} is not what TensorFlow expects ({error!r}): {environment[TF_CONFIG]}"
        ) from None
    if found != num_workers:
        raise ValueError(f"--num_workers is {num_workers}, {TF_CONFIG} describes {found}")


def of_slurm(environment: MutableMapping[str, str]) -> dict:
    """What TF_CONFIG has to say in a step of Slurm with one task on each node.

    The order is Slurm's, whose tasks are numbered in it. The port depends on the job, so that two
    jobs can share a node.
    """
    nodes, tasks = (
        _variable(environment, f"SLURM_STEP_{name}") for name in ("NODELIST", "TASKS_PER_NODE")
    )
    if not re.fullmatch(r"1(\(x\d+\))?(,1(\(x\d+\))?)*", tasks):
        raise ValueError(
            f"SLURM_STEP_TASKS_PER_NODE is {tasks}: one task on each node takes all of its GPUs, "
            "start it with --ntasks-per-node=1"
        )
    command = ["scontrol", "show", "hostnames", nodes]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
    except OSError as error:
        raise ValueError(f"scontrol, which knows the nodes of a job, cannot run: {error}") from None
    except subprocess.CalledProcessError as error:
        raise ValueError(f"{' '.join(command)} failed: {error.stderr.strip()}") from None
    port = _PORTS[int(_variable(environment, "SLURM_JOB_ID")) % len(_PORTS)]
    return {
        "cluster": {"worker": [f"{host}:{port}" for host in listed.stdout.split()]},
        "task": {"type": "worker", "index": int(environment["SLURM_PROCID"])},
    }


def _variable(environment: MutableMapping[str, str], name: str) -> str:
    if name not in environment:
        raise ValueError(f"SLURM_PROCID is set and {name} is not: start the command with srun")
    return environment[name]
