"""The parts of a cluster, fetched once: Flink and Spark from PyPI, Beam's job servers from Maven.

pip and Maven check what they fetch by its hash. What is kept in the cache is checked again, by the
hashes of the day on which it was fetched.
"""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import apache_beam

CACHE = "CONTEXT_RCNN_CLUSTER_CACHE"
SUMS = "SHA256SUMS"
JAVAS = range(11, 18)  # that Flink 1.19 and Spark 3.5 both run on

# Distributions: name on PyPI, version, SHA-256 of the file.
FLINK = (
    "apache-flink-libraries",
    "1.19.3",
    "4a58e3a1fb7d83340bc96b6c080624c6d792d69fae5d294b96224775204a9c60",
)
SPARK = ("pyspark", "3.5.7", "80e36514e0c5c126d35a26adf4f405cd4a69de96a8ea8a3c1e9a65fce2fb4eaa")

# The runner of each engine as Maven names it, and the class of its job server.
FLINK_RUNNER = ("beam-runners-flink-1.19", "org.apache.beam.runners.flink.FlinkJobServerDriver")
SPARK_RUNNER = ("beam-runners-spark-3", "org.apache.beam.runners.spark.SparkJobServerDriver")

# Where a mirror lacks the job server of the installed Beam, one is put together from the libraries
# of this version. Pipelines are handed over in a format that all versions share.
LIBRARIES = "2.62.0"

_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>cluster</groupId>
  <artifactId>job-server</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.beam</groupId>
      <artifactId>{artifact}</artifactId>
      <version>{version}</version>{rest}
    </dependency>
  </dependencies>
</project>
"""
_ALONE = """
      <exclusions>
        <exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion>
      </exclusions>"""


class Missing(Exception):
    """What a cluster needs is not there, or could not be fetched; the text says why."""


def java() -> str:
    """The `java` to use, of JAVA_HOME or of the path.

    Raises:
        Missing: If there is none, or only one that the engines do not run on.
    """
    home = os.environ.get("JAVA_HOME")
    program = os.path.join(home, "bin", "java") if home else shutil.which("java")
    if not program or not os.path.exists(program):
        raise Missing(
            "Java is missing: install a JDK of version 11 or 17 (Debian: openjdk-17-jdk-headless), "
            "or set JAVA_HOME to the folder of one"
        )
    told = subprocess.run([program, "-version"], capture_output=True, text=True).stderr
    version = re.search(r'version "(?:1\.)?(\d+)', told)
    if version is None or int(version[1]) not in JAVAS:
        raise Missing(
            f"{program} is {told.splitlines()[0] if told else 'broken'}; Flink 1.19 and Spark 3.5 "
            f"run on Java {JAVAS[0]} to {JAVAS[-1]}: set JAVA_HOME to the folder of one"
        )
    return program


def cache() -> pathlib.Path:
    """Folder of what was fetched."""
    given = os.environ.get(CACHE)
    if given:
        return pathlib.Path(given)
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "context_rcnn" / "cluster"


def distribution(name: str, version: str, sha256: str) -> pathlib.Path:
    """The folder of a whole Flink or Spark, from the package that carries it."""

    def fetch(draft: pathlib.Path) -> None:
        wanted = draft / "requirements.txt"
        wanted.write_text(f"{name}=={version} --hash=sha256:{sha256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        _run([*pip, "--no-binary=:all:", f"--requirement={wanted}", f"--dest={draft}"])
        (packed,) = draft.glob("*.tar.gz")
        with tarfile.open(packed) as archive:
            inside = f"{archive.getnames()[0].split('/')[0]}/deps/"
            members = [m for m in archive if m.name.startswith(inside)]
            for member in members:
                member.name = member.name[len(inside) :]
            archive.extractall(draft, members, filter="data")
        packed.unlink()

    return _kept(f"{name}-{version}", fetch)


def job_server(artifact: str, main: str, *beside: pathlib.Path) -> pathlib.Path:
    """A jar that starts Beam's job server for an engine.

    Args:
        artifact: Name of the runner.
        main: Class of the job server.
        beside: Jars of the engine that the job server needs too.
    """
    try:
        libraries = _jars(f"{artifact}-job-server", apache_beam.__version__, _ALONE)
    except Missing as missing:
        if not re.search("Could not find artifact|was not found in", str(missing)):
            raise
        libraries = _jars(artifact, LIBRARIES)
    print(f"job server: {libraries.name}")
    return launcher(main, [*sorted(libraries.glob("*.jar")), *beside])


def launcher(main: str, jars: list[pathlib.Path]) -> pathlib.Path:
    """A jar without content that starts a class from other jars."""
    key = hashlib.sha256(repr((main, jars)).encode()).hexdigest()[:16]
    path = cache() / f"{main.rpartition('.')[2]}-{key}.jar"
    text = f"Class-Path: {' '.join(jar.resolve().as_uri() for jar in jars)}"
    lines = [text[:70], *(f" {text[at : at + 69]}" for at in range(70, len(text), 69))]
    with zipfile.ZipFile(path, "w") as jar:
        lines = ["Manifest-Version: 1.0", f"Main-Class: {main}", *lines, ""]
        jar.writestr("META-INF/MANIFEST.MF", "\n".join(lines))
    return path


def _jars(artifact: str, version: str, rest: str = "") -> pathlib.Path:
    """A library of Beam and, unless `rest` says otherwise, all that it needs."""

    def fetch(draft: pathlib.Path) -> None:
        mvn = shutil.which("mvn")
        if mvn is None:
            raise Missing("Maven is missing: install it (Debian: maven)")
        (draft / "pom.xml").write_text(_POM.format(artifact=artifact, version=version, rest=rest))
        strict = ["--batch-mode", "--strict-checksums", f"--file={draft / 'pom.xml'}"]
        _run([mvn, *strict, _COPY, f"-DoutputDirectory={draft}", "-DincludeScope=runtime"])

    return _kept(f"{artifact}-{version}", fetch)


def _kept(name: str, fetch) -> pathlib.Path:
    """A folder of the cache, fetched if it is not there or not as it was."""
    folder = cache() / name
    if folder.exists() and _sums(folder) == (folder / SUMS).read_text():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    draft = cache() / f"{name}.fetching-{os.getpid()}"
    draft.mkdir(parents=True)
    try:
        fetch(draft)
        (draft / SUMS).write_text(_sums(draft))
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _sums(folder: pathlib.Path) -> str:
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SUMS:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"{digest}  {path.relative_to(folder)}\n")
    return "".join(lines)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Missing(f"{' '.join(command[:4])} ... failed:\n{done.stdout[-3000:]}")
