"""What the clusters are made of, without any: the cache, the messages, and that all of it ends."""

import os
import sys
import time
import zipfile

import pytest

from tests.cluster import parts
from tests.cluster.processes import Processes, wait_until


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(parts.CACHE, str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def fake_java(folder, version):
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-21' >&2\n")
    program.chmod(0o755)
    return program


def test_without_java_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(parts.Missing, match="install a JDK of version 11 or 17"):
        parts.java()


@pytest.mark.parametrize("version, usable", [("17.0.15", True), ("11.0.2", True), ("1.8.0", False)])
def test_a_java_that_the_engines_do_not_run_on_is_refused(monkeypatch, tmp_path, version, usable):
    program = fake_java(tmp_path / "jdk", version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    if usable:
        assert parts.java() == str(program)
    else:
        with pytest.raises(parts.Missing, match="run on Java 11 to 17"):
            parts.java()


def test_what_is_fetched_is_kept_until_it_changes(cache):
    fetched = []

    def fetch(draft):
        fetched.append(draft)
        (draft / "lib").mkdir()
        (draft / "lib" / "a.jar").write_bytes(b"whole")

    folder = parts._kept("engine-1", fetch)
    assert parts._kept("engine-1", fetch) == folder and len(fetched) == 1
    (folder / "lib" / "a.jar").write_bytes(b"wh")
    assert parts._kept("engine-1", fetch) == folder and len(fetched) == 2
    assert (folder / "lib" / "a.jar").read_bytes() == b"whole"
    assert os.listdir(cache) == ["engine-1"]


def test_half_of_a_distribution_is_not_kept(cache):
    def fetch(draft):
        (draft / "a.jar").write_bytes(b"wh")
        raise OSError("the network is gone")

    with pytest.raises(OSError, match="the network is gone"):
        parts._kept("engine-1", fetch)
    assert os.listdir(cache) == []


@pytest.mark.parametrize(
    "words, versions",
    [
        ("[ERROR] Could not find artifact org.apache.beam:x-job-server:jar", [parts.LIBRARIES]),
        ("[ERROR] Could not transfer artifact: Unknown host", []),
    ],
)
def test_a_job_server_that_is_not_published_is_put_together(
    tmp_path, monkeypatch, cache, words, versions
):
    """`mvn` here fails for job servers, and otherwise copies a jar."""
    mvn = tmp_path / "mvn"
    script = (
        f"grep -q -e -job-server $draft/pom.xml && echo '{words}' && exit 1; touch $draft/a.jar"
    )
    mvn.write_text(f"#!/bin/sh\ndraft=$(dirname ${{3#--file=}})\n{script}\n")
    mvn.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    if versions:
        parts.job_server("beam-runners-x", "org.example.Main")
    else:
        with pytest.raises(parts.Missing, match="Unknown host"):
            parts.job_server("beam-runners-x", "org.example.Main")
    kept = [name for name in os.listdir(cache) if name.startswith("beam-")]
    assert kept == [f"beam-runners-x-{version}" for version in versions]


def test_the_jar_of_a_job_server_names_all_jars_in_lines_that_java_reads(tmp_path):
    jars = [tmp_path / f"library {number} with a long name.jar" for number in range(9)]
    with zipfile.ZipFile(parts.launcher("org.example.Main", jars)) as jar:
        text = jar.read("META-INF/MANIFEST.MF").decode()
    assert all(len(line.encode()) <= 72 for line in text.splitlines())
    fields = dict(line.split(": ", 1) for line in text.replace("\n ", "").splitlines())
    assert fields["Main-Class"] == "org.example.Main"
    assert fields["Class-Path"].split(" ") == [jar.as_uri() for jar in jars]


def test_what_a_program_started_ends_with_it_even_if_it_does_not_want_to(tmp_path):
    deaf = "import signal, time\nfor n in (2, 15): signal.signal(n, signal.SIG_IGN)\n"
    deaf += "open('child', 'w').write(str(__import__('os').getpid()))\ntime.sleep(600)"
    parent = f"import os, subprocess, sys, time\nos.chdir({str(tmp_path)!r})\n"
    parent += f"subprocess.Popen([sys.executable, '-c', {deaf!r}])\ntime.sleep(600)"
    with Processes(tmp_path) as processes:
        processes.start("parent", [sys.executable, "-c", parent])
        child = tmp_path / "child"
        wait_until(lambda: child.exists() and child.read_text(), "the child")
    begun = time.monotonic()
    while os.path.exists(f"/proc/{child.read_text()}") and time.monotonic() < begun + 5:
        time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)
