"""A real Flink and a real Spark on this machine: a master and two workers, each with a worker pool.

An engine sends all its workers to the same address for their pool of Python processes. Two workers
must not share one: a pool knows its processes by numbers that each worker counts for itself. So
each worker here has a hosts file, in which `worker-pool` is a loopback address of its own, as on a
cluster `localhost` is each machine's own.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

from tests.cluster import parts
from tests.cluster.processes import Processes, Relay, end, free_port, page, wait_until

ROOT = pathlib.Path(__file__).parents[2]
WORKERS = 2
POOL = "worker-pool"
# Of each worker's Python processes, so that the mode of a file tells who has written it.
UMASKS = (0o022, 0o026)
# The environment of all Python processes: this code, and one thread of each library.
OURS = {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "CUDA_VISIBLE_DEVICES": "-1",
}

# What both engines ask of Java 17 in their own start scripts.
_LANG = "lang lang.invoke lang.reflect"
_UTIL = "util util.concurrent util.concurrent.atomic util.concurrent.locks"
_JAVA = [f"java.{name}" for name in f"{_LANG} {_UTIL} io net nio text time".split()]
_SUN = [f"sun.{name}" for name in ["nio.ch", "nio.cs", "util.calendar", "security.action"]]
OPENED = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _JAVA + _SUN]


class Engine:
    """A cluster. `flags` make a pipeline run on it; `kill` takes one of its workers away."""

    name = ""

    def __init__(self, processes: Processes):
        self.java, self.processes = parts.java(), processes
        self.port, self.page_port, self.pool_port = free_port(), free_port(), free_port()
        self._workers: dict[int, subprocess.Popen] = {}
        self._relays: list[Relay] = []

    def start(self) -> None:
        self.start_master()
        wait_until(self.is_up, f"{self.name}: master")
        for number in range(WORKERS):
            self._start_pool(number)
            self.add_worker(number)
        wait_until(lambda: self.workers() == WORKERS, f"{self.name}: workers")

    def stop(self) -> None:
        for relay in self._relays:
            relay.close()

    def add_worker(self, number: int) -> None:
        """Starts a worker, or another one in the place of one that was killed."""
        hosts = self.processes.folder / f"hosts-{number}"
        names = {"localhost", socket.gethostname()}
        lines = [f"127.0.0.1 {name}" for name in sorted(names)]
        hosts.write_text("\n".join([*lines, f"{_address(number)} {POOL}", ""]))
        # Not on the command line: Spark starts processes of its own, which inherit it.
        tools = {"JAVA_TOOL_OPTIONS": f"-Djdk.net.hosts.file={hosts}"}
        self._workers[number] = self.start_worker(number, tools)

    def kill(self, number: int) -> None:
        """Kills the process that runs the tasks of a worker, with SIGKILL."""
        end(self._workers.pop(number), (signal.SIGKILL,))

    def run(self, name: str, command: list[str]) -> subprocess.Popen:
        """Starts a pipeline on this cluster."""
        return self.processes.start(name, [sys.executable, "-m", *command, *self.flags()], **OURS)

    def writer(self, path: pathlib.Path) -> int:
        """The worker whose Python processes have written a file."""
        return UMASKS.index(0o666 & ~path.stat().st_mode)

    def flags(self) -> list[str]:
        return [
            "--environment_type=EXTERNAL",
            f"--environment_config={POOL}:{self.pool_port}",
            "--environment_cache_millis=120000",
        ]

    def _start_pool(self, number: int) -> None:
        port = free_port()
        pool = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main"]
        programs = os.path.dirname(sys.executable)  # the pool starts `python`
        path = {"PATH": f"{programs}:{os.environ['PATH']}", **OURS}
        command = ["sh", "-c", f'umask {UMASKS[number]:03o}; exec "$@"', "pool", *pool]
        self.processes.start(f"pool-{number}", [*command, f"--service_port={port}"], **path)
        self._relays.append(Relay((_address(number), self.pool_port), port))

    def start_master(self) -> None:
        raise NotImplementedError

    def start_worker(self, number: int, environment: dict[str, str]) -> subprocess.Popen:
        raise NotImplementedError

    def is_up(self) -> bool:
        raise NotImplementedError

    def workers(self) -> int:
        """How many the master knows."""
        raise NotImplementedError

    def jobs(self) -> list[str]:
        """How the jobs ended that the master knows, in their order."""
        raise NotImplementedError


class Flink(Engine):
    """A job manager and two task managers with one slot each."""

    name = "flink"

    def __init__(self, processes: Processes):
        super().__init__(processes)
        self._flink = parts.distribution(*parts.FLINK)
        self._server = parts.job_server(*parts.FLINK_RUNNER)
        self._settings = processes.folder / "conf"
        self._settings.mkdir()
        settings = {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": self.port,
            "jobmanager.bind-host": "127.0.0.1",
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": self.page_port,
            "taskmanager.host": "127.0.0.1",
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.numberOfTaskSlots": 1,
            "taskmanager.cpu.cores": 1.0,
            "taskmanager.memory.task.heap.size": "384m",
            "taskmanager.memory.task.off-heap.size": "0m",
            "taskmanager.memory.managed.size": "64m",
            "taskmanager.memory.network.min": "64m",
            "taskmanager.memory.network.max": "64m",
            "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.framework.off-heap.size": "64m",
            "taskmanager.memory.jvm-metaspace.size": "256m",
            "taskmanager.memory.jvm-overhead.min": "64m",
            "taskmanager.memory.jvm-overhead.max": "64m",
        }
        lines = [f"{name}: {value}\n" for name, value in settings.items()]
        (self._settings / "config.yaml").write_text("".join(lines))

    def _start(self, name: str, main: str, **environment: str) -> subprocess.Popen:
        memory = ["-Xmx512m", "-XX:MaxDirectMemorySize=192m", "-XX:MaxMetaspaceSize=384m"]
        command = [self.java, *memory, *OPENED, "-cp", f"{self._flink}/lib/*", main]
        return self.processes.start(
            name,
            [*command, "--configDir", str(self._settings)],
            FLINK_CONF_DIR=str(self._settings),
            **environment,
        )

    def start_master(self) -> None:
        self._start(
            "master", "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        )

    def start_worker(self, number: int, environment: dict[str, str]) -> subprocess.Popen:
        main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        return self._start(f"worker-{number}", main, **environment)

    def is_up(self) -> bool:
        return bool(self._ask("overview"))

    def workers(self) -> int:
        return self._ask("overview").get("slots-total", 0)

    def jobs(self) -> list[str]:
        jobs = self._ask("jobs/overview").get("jobs", [])
        return [job["state"] for job in sorted(jobs, key=lambda job: job["start-time"])]

    def _ask(self, what: str) -> dict:
        return json.loads(page(f"http://127.0.0.1:{self.page_port}/{what}") or "{}")

    def flags(self) -> list[str]:
        return [
            "--runner=FlinkRunner",
            f"--flink_master=127.0.0.1:{self.page_port}",
            "--flink_version=1.19",
            f"--flink_job_server_jar={self._server}",
            f"--job_server_java_launcher={self.java}",
            f"--parallelism={WORKERS}",
            *super().flags(),
        ]


class Spark(Engine):
    """A master and two workers, each with an executor of one core."""

    name = "spark"

    def __init__(self, processes: Processes):
        super().__init__(processes)
        self._spark = parts.distribution(*parts.SPARK)
        jars = sorted((self._spark / "jars").glob("*.jar"))
        self._server = parts.job_server(*parts.SPARK_RUNNER, *jars)

    def _start(self, name: str, main: str, *arguments: str, **environment: str):
        command = [self.java, "-Xmx512m", *OPENED, "-cp", f"{self._spark}/jars/*", main]
        home = {"SPARK_HOME": str(self._spark), "SPARK_LOCAL_IP": "127.0.0.1"}
        home |= {"SPARK_SCALA_VERSION": "2.12", "JAVA_HOME": _home(self.java)}
        return self.processes.start(name, [*command, *arguments], **home, **environment)

    def start_master(self) -> None:
        self._start(
            "master",
            "org.apache.spark.deploy.master.Master",
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--webui-port", str(self.page_port)),
        )

    def start_worker(self, number: int, environment: dict[str, str]) -> subprocess.Popen:
        folder = self.processes.folder / f"worker-{number}"
        return self._start(
            f"worker-{number}",
            "org.apache.spark.deploy.worker.Worker",
            *("--host", "127.0.0.1", "--cores", "1", "--memory", "1g", "--work-dir", str(folder)),
            *("--webui-port", str(free_port())),
            f"spark://127.0.0.1:{self.port}",
            **environment,
        )

    def is_up(self) -> bool:
        return bool(page(f"http://127.0.0.1:{self.page_port}/json/"))

    def workers(self) -> int:
        told = json.loads(page(f"http://127.0.0.1:{self.page_port}/json/") or "{}")
        return sum(worker["state"] == "ALIVE" for worker in told.get("workers", []))

    def jobs(self) -> list[str]:
        told = json.loads(page(f"http://127.0.0.1:{self.page_port}/json/") or "{}")
        jobs = told.get("completedapps", []) + told.get("activeapps", [])
        return [job["state"] for job in sorted(jobs, key=lambda job: job["starttime"])]

    def flags(self) -> list[str]:
        memory = "-Dspark.executor.memory=640m"
        return [
            "--runner=SparkRunner",
            f"--spark_master_url=spark://127.0.0.1:{self.port}",
            f"--spark_job_server_jar={self._server}",
            f"--job_server_java_launcher={self.java}",
            f"--job_server_jvm_properties={memory}",
            *super().flags(),
        ]


def _address(number: int) -> str:
    return f"127.0.0.{11 + number}"


def _home(java: str) -> str:
    return str(pathlib.Path(java).resolve().parents[1])
