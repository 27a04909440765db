"""Runs in processes of their own that need not load TensorFlow each time, since they are forked.

A script loads what its runs need and calls `serve(run)`; a test starts it by `Forks(script)`.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable

ROOT = pathlib.Path(__file__).parents[2]


class Moments:
    """Counts moments of the process, and kills it at the one that is the last."""

    count = last = 0

    def one(self) -> None:
        """Another moment."""
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable) -> Callable:
        """A function with a moment before it and one behind."""

        def wrapped(*args, **kwargs):
            self.one()
            result = function(*args, **kwargs)
            self.one()
            return result

        return wrapped


def serve(run: Callable) -> None:
    """Calls `run` in a child for each line of arguments, and tells what became of it."""
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.write(writer, json.dumps(run(*json.loads(line))).encode())
            os._exit(0)
        os.close(writer)
        print(child, flush=True)
        with open(reader) as answer:
            result = answer.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([code, json.loads(result or "null")]), flush=True)


class Forks:
    """The process of a script that serves, from `with` to its end."""

    def __init__(self, script: pathlib.Path, *args):
        self._command = [sys.executable, str(script), *map(str, args)]

    def __enter__(self):
        self._server = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_):
        self._server.communicate()
        assert self._server.returncode == 0

    def start(self, *args) -> int:
        """Starts a run, and returns the number of its process."""
        self._server.stdin.write(json.dumps(args) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def end(self) -> tuple[int, int | None]:
        """Waits for the run: its exit code, and what it returned."""
        return tuple(json.loads(self._server.stdout.readline()))

    def run(self, *args) -> tuple[int, int | None]:
        """Starts a run and waits for it."""
        self.start(*args)
        return self.end()
