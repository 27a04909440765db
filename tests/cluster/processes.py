"""Processes that end with the tests, whatever ends the tests."""

import contextlib
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence

_PATIENCE = 10.0
_FIRM = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_SET_DEATH_SIGNAL = 1  # of prctl


class Processes:
    """Starts programs, each with a log and a group of its own, and ends what is left of them."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._running: list[subprocess.Popen] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self._running):
            end(process)

    def start(self, name: str, command: list[str], **environment: str) -> subprocess.Popen:
        """Starts a program; its words go to `name`.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        self._running.append(process)
        return process

    def words(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")


def _end_with_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a command in the background ignores it
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGINT)


def end(process: subprocess.Popen, signals: Sequence[int] = _FIRM) -> None:
    """Ends a program, by ever firmer signals, and then what it has started."""
    for number in signals:
        if process.poll() is None:
            os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def page(url: str) -> str:
    """What an engine's page says, "" while there is none."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def wait_until(true, what: str, seconds: float = 120.0) -> None:
    """Waits for something to become true.

    Raises:
        TimeoutError: If it does not in time.
    """
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)


class Relay:
    """Hands connections to an address on to a port of 127.0.0.1."""

    def __init__(self, address: tuple[str, int], port: int):
        self._server, self._port = socket.create_server(address), port
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._server.accept()
                called = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                return
            for ends in ((caller, called), (called, caller)):
                threading.Thread(target=_copy, args=ends, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for side in (source, target):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                side.close()
