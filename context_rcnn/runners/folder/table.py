"""What is known of every image, a row each, in one SQLite file.

A change is there whole or not at all, and safe from killed processes and power cuts. What a row
holds is filled from left to right: `look` sees the file, `remember` puts it into the memory bank,
`detect` finds what is in it, `repeats` suspects some of that.
"""

import contextlib
import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.paths import FileError
from context_rcnn.data.prepare import STAGE
from context_rcnn.results.records import Detection, Header, ImageResult
from context_rcnn.runners.engine.files import SeenImage
from context_rcnn.runners.engine.state import OTHERWISE

_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE parts (number INTEGER PRIMARY KEY);
CREATE TABLE images (
    file TEXT PRIMARY KEY,
    camera TEXT NOT NULL,
    seconds INTEGER,
    size INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    digest TEXT NOT NULL,
    problem TEXT NOT NULL,
    look INTEGER NOT NULL,
    burst TEXT NOT NULL DEFAULT '',
    width INTEGER,
    height INTEGER,
    failure TEXT NOT NULL DEFAULT '',
    failure_text TEXT NOT NULL DEFAULT '',
    remembered INTEGER NOT NULL DEFAULT 0,
    detections TEXT,
    memory TEXT NOT NULL DEFAULT '',
    suspects TEXT NOT NULL DEFAULT '[]',
    time INTEGER GENERATED ALWAYS AS (ifnull(seconds, 9223372036854775807)) VIRTUAL
) WITHOUT ROWID;
CREATE INDEX by_time ON images (camera, time, file);
"""
_PASSED = """
CREATE TABLE IF NOT EXISTS passed (file TEXT PRIMARY KEY, line TEXT NOT NULL, look INTEGER NOT NULL)
WITHOUT ROWID
"""
_CLOCK = "ALTER TABLE images ADD COLUMN clock TEXT NOT NULL DEFAULT ''"
_DAMAGED = """
CREATE TABLE IF NOT EXISTS damaged (file TEXT PRIMARY KEY, reason TEXT NOT NULL, text TEXT NOT NULL)
WITHOUT ROWID
"""
_SEE = """
INSERT INTO images (file, camera, seconds, clock, size, changed, digest, problem, look, failure,
    failure_text)
VALUES (:file, :camera, :seconds, :clock, :size, :changed, :digest, :problem, :look, :failure,
    :failure_text)
ON CONFLICT (file) DO UPDATE SET
    camera = excluded.camera, seconds = excluded.seconds, clock = excluded.clock,
    size = excluded.size,
    changed = excluded.changed, digest = excluded.digest, problem = excluded.problem,
    look = excluded.look, failure = excluded.failure, failure_text = excluded.failure_text,
    remembered = CASE WHEN {same} THEN remembered ELSE 0 END,
    detections = CASE WHEN {same} THEN detections END
""".format(same="(failure = '' AND digest = excluded.digest AND camera = excluded.camera)")
_VERSION = 1
_PAGE = 500
_EARLIEST = -(1 << 63)
_CACHE_KILOBYTES = 16_384

AWAY = "look != (SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'look')"
"""Of a folder that could not be listed; what was known of the image before is kept."""
READABLE = "failure = ''"
TO_REMEMBER = f"failure = '' AND camera != '' AND NOT remembered AND NOT ({AWAY})"
REMEMBERED = "failure = '' AND remembered"
DETECTED = "failure = '' AND detections IS NOT NULL"


@dataclasses.dataclass(frozen=True)
class CameraFacts:
    """Counts of a camera; `first` and `last` are seconds."""

    camera: str
    images: int
    undated: int
    first: int | None
    last: int | None


class ImageTable:
    """The table of a run, new or begun by an earlier one.

    One process uses a table at a time.

    Attributes:
        header: settings of the results, and the time at which the first run began.

    Raises:
        ValueError: If the file is no such table, is in use, or was begun with another model or
            other settings.
    """

    def __init__(self, path: str | Path, header: Header):
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(path, isolation_level=None, timeout=1)
        try:
            self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._base.execute("PRAGMA secure_delete = ON")  # what is taken out is gone
            self._base.execute(f"PRAGMA cache_size = -{_CACHE_KILOBYTES}")
            with self.change():
                self.header = self._begin(header)
        except sqlite3.DatabaseError as error:
            self._base.close()
            raise ValueError(
                f"{path}: {error}; is another run using it? If not, delete the folder "
                f"{self._path.parent} to start from the beginning"
            ) from error
        except BaseException:
            self._base.close()
            raise

    def _begin(self, header: Header) -> Header:
        if not self._base.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            for statement in _SCHEMA.split(";"):
                self._base.execute(statement)
            self._base.execute(f"PRAGMA user_version = {_VERSION}")
            self.set_fact("header", header.to_json())
        self._base.execute(_PASSED)
        columns = self._base.execute("SELECT name FROM pragma_table_info('images')").fetchall()
        if ("clock",) not in columns:
            self._base.execute(_CLOCK)
        self._base.execute(_DAMAGED)
        (version,) = self._base.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            raise ValueError(
                f"{self._path} is of version {version}, this program reads {_VERSION}: start "
                "from the beginning with --restart"
            )
        earlier = Header.from_json(self.fact("header"))
        earlier.refuse_others(header, self._path.parent, OTHERWISE)
        return earlier

    def outputs(self) -> list[str]:
        """Files that runs of this table have written."""
        return json.loads(self.fact("outputs") or "[]")

    def add_outputs(self, paths: Iterable[str]) -> None:
        """Notes files as written by this run."""
        with self.change():
            self.set_fact("outputs", json.dumps(sorted({*self.outputs(), *paths})))

    def close(self) -> None:
        self._base.close()

    def __enter__(self) -> "ImageTable":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """What is changed inside is changed together, when the block ends without an exception."""
        self._base.execute("BEGIN EXCLUSIVE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    def fact(self, name: str) -> str:
        """A remark about the whole run, "" if there is none."""
        row = self._base.execute("SELECT value FROM facts WHERE name = ?", [name]).fetchone()
        return row[0] if row else ""

    def set_fact(self, name: str, value: str) -> None:
        self._base.execute("REPLACE INTO facts VALUES (?, ?)", [name, value])

    # Look.

    def known(self, files: Sequence[str]) -> dict[str, SeenImage]:
        """What earlier looks told of files, by name."""
        names = [field.name for field in dataclasses.fields(SeenImage)]
        marks = ", ".join("?" * len(files))
        query = f"SELECT {', '.join(names)} FROM images WHERE file IN ({marks})"
        return {row[0]: SeenImage(*row) for row in self._base.execute(query, files)}

    def see(self, images: Iterable[SeenImage], look: int) -> None:
        """Takes in what a look tells. What is not as before, or failed before, begins anew.

        What the extractor saw does not depend on the time, and whether the detector must look again
        is said by the memory of the camera: images with another time keep what was found out.
        """
        rows = ({n: getattr(i, n) for n in i.__slots__} | {"look": look} for i in images)
        self._base.executemany(_SEE, rows)

    def pass_over(self, failures: Iterable[Failure], look: int) -> None:
        """Notes what a look passed over; each `file` is a name that results can hold."""
        rows = ((failure.file, failure.to_json(), look) for failure in failures)
        self._base.executemany("REPLACE INTO passed VALUES (?, ?, ?)", rows)

    def forget_others(self, look: int, unlisted: Iterable[str], kept: Iterable[str]) -> int:
        """Removes images that this look has not seen; returns how many.

        Args:
            look: number of the look.
            unlisted: folders that could not be listed. Images below them are kept if anything was
                found out about them.
            kept: other images of which the same is true.
        """
        self._base.execute("DELETE FROM passed WHERE look != ?", [look])
        self._base.execute("CREATE TEMP TABLE IF NOT EXISTS kept (place TEXT)")
        self._base.execute("DELETE FROM kept")
        places = [*(f"{folder}/" for folder in unlisted), *kept]
        self._base.executemany("INSERT INTO kept VALUES (?)", ([place] for place in places))
        forgotten = self._base.execute(
            "DELETE FROM images WHERE look != ? AND NOT ((detections IS NOT NULL OR failure != '') "
            "AND EXISTS (SELECT 1 FROM kept WHERE file = place OR "
            "(substr(place, -1) = '/' AND substr(file, 1, length(place)) = place)))",
            [look],
        ).rowcount
        self._base.execute("DELETE FROM damaged WHERE file NOT IN (SELECT file FROM images)")
        return forgotten

    def away(self) -> set[str]:
        """Images that could not be looked at, of which is kept what was known."""
        return {row[0] for row in self._base.execute(f"SELECT file FROM images WHERE {AWAY}")}

    def set_bursts(self, bursts: Iterable[tuple[str, str]]) -> None:
        """Bursts of images, as (burst, file)."""
        self._base.executemany("UPDATE images SET burst = ? WHERE file = ?", bursts)

    # Remember and detect.

    def set_failures(self, failures: Iterable[tuple[str, str, str]]) -> None:
        """Images that cannot be used, as (reason, words, file)."""
        query = "UPDATE images SET failure = ?, failure_text = ?, width = NULL, height = NULL"
        self._base.executemany(f"{query} WHERE file = ?", failures)

    def set_damaged(self, looked_at: Iterable[tuple[str, FileError | None]]) -> None:
        """Images that are used, with what is wrong with them, None where nothing is."""
        looked_at = list(looked_at)
        self._base.executemany("DELETE FROM damaged WHERE file = ?", ([f] for f, _ in looked_at))
        rows = [(file, str(error.reason), error.detail) for file, error in looked_at if error]
        self._base.executemany("INSERT INTO damaged VALUES (?, ?, ?)", rows)

    def set_remembered(
        self, part: int, sizes: Iterable[tuple[int | None, int | None, str]]
    ) -> None:
        """Images whose entries are in this part, as (width, height, file)."""
        query = "UPDATE images SET remembered = ?, width = ?, height = ? WHERE file = ?"
        self._base.executemany(query, ((part, *size) for size in sizes))

    def remembered(self, camera: str) -> Iterator[tuple[str, int, int | None]]:
        """Files of a camera, which part their entries were written to, and their times."""
        query = f"SELECT file, remembered, seconds FROM images WHERE camera = ? AND {REMEMBERED}"
        yield from self._base.execute(query, [camera])

    def forget_remembered(self) -> None:
        self._base.execute("UPDATE images SET remembered = 0")

    def set_detections(self, images: Iterable[ImageResult], memory: str) -> None:
        """What was found in images with this memory."""
        query = "UPDATE images SET detections = ?, memory = ?, width = ?, height = ? WHERE file = ?"
        self._base.executemany(
            query,
            [(_to_text(i.detections), memory, i.width, i.height, i.file) for i in images],
        )

    def parts(self) -> list[int]:
        """Numbers of the parts that are not in the bank yet."""
        return [row[0] for row in self._base.execute("SELECT number FROM parts ORDER BY number")]

    def add_part(self, number: int) -> None:
        self._base.execute("INSERT INTO parts VALUES (?)", [number])
        self.set_fact("last_part", str(number))

    def forget_parts(self) -> None:
        self._base.execute("DELETE FROM parts")

    # Suspects.

    def set_suspects(self, suspects: Mapping[str, Sequence[int]]) -> None:
        """Places of the detections of an image that are suspect, by file."""
        rows = [(json.dumps(list(places)), file) for file, places in suspects.items()]
        self._base.executemany("UPDATE images SET suspects = ? WHERE file = ?", rows)

    def clear_suspects(self) -> None:
        self._base.execute("UPDATE images SET suspects = '[]' WHERE suspects != '[]'")

    # Reading. Pages, so that the table can be changed meanwhile.

    def count(self, which: str = "TRUE") -> int:
        return self._base.execute(f"SELECT count(*) FROM images WHERE {which}").fetchone()[0]

    def cameras(self, which: str = "TRUE") -> list[CameraFacts]:
        """Counts by camera, in the order of their names."""
        query = (
            "SELECT camera, count(*), count(*) - count(seconds), min(seconds), max(seconds) "
            f"FROM images WHERE {which} GROUP BY camera ORDER BY camera"
        )
        return [CameraFacts(*row) for row in self._base.execute(query)]

    def in_time(self, which: str = "TRUE", camera: str | None = None) -> Iterator[ImageResult]:
        """Images by camera and time, undated last; scores of suspects are negative.

        Args:
            which: a condition, such as `READABLE`.
            camera: camera whose images are meant.
        """
        if camera is None:
            return self._read(which, ("camera", "time", "file"), ("", _EARLIEST, ""))
        return self._read(which, ("time", "file"), (_EARLIEST, ""), camera)

    def in_name_order(self) -> Iterator[ImageResult]:
        """All images by file name, likewise."""
        return self._read("TRUE", ("file",), ("",))

    def _read(
        self, which: str, order: tuple[str, ...], after: tuple, camera: str | None = None
    ) -> Iterator[ImageResult]:
        columns, only = ", ".join(order), "TRUE" if camera is None else "camera = ?"
        marks = ", ".join("?" * len(order))
        query = (
            "SELECT file, camera, seconds, width, height, burst, detections, suspects, failure, "
            f"failure_text, {columns} FROM images WHERE ({columns}) > ({marks}) AND {only} "
            f"AND {which} ORDER BY {columns} LIMIT {_PAGE}"
        )
        owner = [] if camera is None else [camera]
        while page := self._base.execute(query, [*after, *owner]).fetchall():
            for row in page:
                file, of, seconds, width, height, burst, *results = row[: -len(order)]
                found, suspects, failure, text = results
                detections = () if failure else _from_text(found, json.loads(suspects))
                yield ImageResult(
                    file, file, of, seconds, width, height, burst, detections, failure, text
                )
            after = page[-1][-len(order) :]

    def count_unset(self) -> int:
        """Images whose date is nonsense, or of a clock that was never set."""
        return self.count("problem != ''")

    def failures(self) -> Iterator[Failure]:
        """Images and dates that cannot be used, by file name, images that are used though they are
        damaged, and what the look passed over."""
        last = ""
        query = (
            "SELECT file, camera, failure, failure_text, problem FROM images "
            "WHERE file > ? AND (failure != '' OR problem != '') "
            f"ORDER BY file LIMIT {_PAGE}"
        )
        while page := self._base.execute(query, [last]).fetchall():
            for file, camera, failure, text, problem in page:
                if problem:
                    yield Failure.from_json(problem)
                if failure:
                    yield Failure(STAGE, Reason(failure), text, file, file, camera)
            last = page[-1][0]
        last = ""
        query = (
            "SELECT file, camera, reason, text FROM damaged JOIN images USING (file) "
            f"WHERE file > ? AND failure = '' ORDER BY file LIMIT {_PAGE}"
        )
        while page := self._base.execute(query, [last]).fetchall():
            for file, camera, reason, text in page:
                yield Failure(STAGE, Reason(reason), text, file, file, camera, lost="nothing")
            last = page[-1][0]
        last = ""
        query = f"SELECT file, line FROM passed WHERE file > ? ORDER BY file LIMIT {_PAGE}"
        while page := self._base.execute(query, [last]).fetchall():
            yield from (Failure.from_json(line) for _, line in page)
            last = page[-1][0]

    def undone(self, camera: str, memory: str) -> set[str]:
        """Readable images of a camera without results from this memory."""
        query = (
            "SELECT file FROM images WHERE camera = ? AND failure = '' "
            f"AND (detections IS NULL OR memory != ?) AND NOT ({AWAY})"
        )
        return {row[0] for row in self._base.execute(query, [camera, memory])}

    def fingerprint(self, which: str, camera: str | None = None) -> str:
        """Hash of which images there are, when they were taken, and of their content."""
        digest = hashlib.blake2b(digest_size=16)
        where, values = (which, []) if camera is None else (f"{which} AND camera = ?", [camera])
        query = (
            f"SELECT file, camera, seconds, digest FROM images WHERE {where} "
            "ORDER BY camera, time, file"
        )
        for row in self._base.execute(query, values):
            digest.update(repr(row).encode())
        return digest.hexdigest()


def _to_text(detections: Iterable[Detection]) -> str:
    return json.dumps([[*found.box, found.class_id, found.score] for found in detections])


def _from_text(text: str | None, suspects: Sequence[int]) -> tuple[Detection, ...]:
    rows = json.loads(text or "[]")
    signs = [-1 if i in suspects else 1 for i in range(len(rows))]
    return tuple(
        Detection(tuple(row[:4]), row[4], sign * row[5])
        for row, sign in zip(rows, signs, strict=True)
    )
