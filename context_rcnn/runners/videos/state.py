"""What a killed run goes on from.

STATE/run.json        what the results are made with, and which files are written
STATE/videos/*.jsonl  a journal for each video that is through; `.partial` for others
STATE/aside/          frames of the videos that are being read
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from context_rcnn.data.failures import Reason
from context_rcnn.data.paths import FileError
from context_rcnn.results.atomic import MARK, Transaction
from context_rcnn.results.join import join_journals
from context_rcnn.results.journal import Journal, JournalWriter
from context_rcnn.results.records import NO_RATE, Header, ImageResult
from context_rcnn.runners.engine.state import OTHERWISE, begin_state, check_state
from context_rcnn.runners.videos.find import Video
from context_rcnn.runners.videos.frames import OpenVideo

RUN, VIDEOS, ASIDE = "run.json", "videos", "aside"


class VideoState:
    """The state of a run, new or begun by an earlier one of the same model and settings.

    Args:
        folder: folder of the state.
        header: settings of the results, and the time at which the first run began.
        restart: forget what is there.
        dry_run: read what is there, and write nothing.

    Raises:
        ValueError: If the folder is something else, or of another model or other settings.
    """

    def __init__(
        self, folder: str | Path, header: Header, restart: bool = False, dry_run: bool = False
    ):
        kind = "a run with videos"
        if dry_run:
            self.folder = check_state(folder, kind, RUN)
        else:
            self.folder = begin_state(folder, kind, RUN, restart=restart)
        self._forgets = restart and dry_run
        self.header = header
        self.outputs: list[str] = []
        run = self.folder / RUN
        if run.exists() and not restart:
            values = json.loads(run.read_text(encoding="utf-8"))
            self.header, self.outputs = Header.from_json(values["header"]), values["outputs"]
            self.header.refuse_others(header, self.folder, OTHERWISE)
        if not dry_run:
            self._save()
            self.clear()

    def is_through(self, video: Video) -> bool:
        return not self._forgets and self.journal(video).exists()

    def journal(self, video: Video) -> Path:
        """Of a video that is through."""
        return self.folder / VIDEOS / f"{video.key}.jsonl"

    def aside(self, video: Video) -> Path:
        """Where its frames are put while it is read."""
        return self.folder / ASIDE / video.key

    def clear(self) -> None:
        """Removes what videos leave that are not through."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder / ASIDE)
        for path in (self.folder / VIDEOS).glob(f"*{MARK}"):
            path.unlink()

    def add_outputs(self, paths: list[str]) -> None:
        """Remembers files as written by this run."""
        self.outputs = sorted({*self.outputs, *paths})
        self._save()

    def forget_changed(
        self, videos: Sequence[Video], unlisted: Sequence[str]
    ) -> tuple[int, list[Path]]:
        """Forgets what was found in videos that have changed since.

        Args:
            videos: the videos that are there.
            unlisted: folders that could not be listed.

        Returns:
            The number of videos that are through and no longer there. They are kept, since a disk
            may be missing, and count again when they are back. And the journals of videos in
            folders that could not be listed, which count as before.
        """
        known = {self.journal(video) for video in videos}
        names, gone, away = {video.name for video in videos}, 0, []
        for path in sorted((self.folder / VIDEOS).glob("*.jsonl")):
            if path in known:
                continue
            # A frame names its video; a video that failed as a whole has its own name.
            image = next(Journal(path).results(), None)
            name = "" if image is None else image.burst or image.file
            if image is None or name in names:
                path.unlink()
            elif any(f"{name}/".startswith(f"{folder}/") for folder in unlisted):
                away.append(path)
            else:
                gone += 1
        return gone, away

    def join(self, videos: Sequence[Video], away: Sequence[Path], target: Path) -> Path:
        """One journal of all videos, and of those that could not be looked at."""
        return join_journals([*(self.journal(video) for video in videos), *away], target)

    def _save(self) -> None:
        with Transaction() as files:
            values = {"header": self.header.to_json(), "outputs": self.outputs}
            files.open(self.folder / RUN).write(json.dumps(values))


class VideoJournals:
    """Takes what is found into journals, each of which gets its name when its video is through.

    Args:
        state: state of the run.
        count: is called with frames and videos that are done.
    """

    def __init__(self, state: VideoState, count: Callable[[int, int], None]):
        self._state, self._count = state, count
        self._open: dict[str, JournalWriter] = {}
        self._failures: dict[str, FileError | None] = {}  # None once a frame could be used

    def write(self, video: Video, result: ImageResult) -> None:
        if video.key not in self._open:
            self._begin(video)
        self._open[video.key].append(result)
        if not result.failure:
            self._failures[video.key] = None
        else:
            problem = FileError(Reason(result.failure), result.failure_text)
            self._failures.setdefault(video.key, problem)
        self._count(1, 0)

    def through(self, opened: OpenVideo) -> None:
        video, failure = opened.video, opened.failure
        if failure is None and video.is_file:
            failure = self._failures.get(video.key)
        if failure is not None or video.key not in self._open:
            self._begin(video)
        journal = self._open.pop(video.key)
        if failure is not None:
            journal.append(
                ImageResult(
                    video.name,
                    video.name,
                    failure=str(failure.reason),
                    failure_text=failure.detail,
                    frame_rate=NO_RATE if video.is_file else None,
                )
            )
        journal.close()
        place = self._state.journal(video)
        os.replace(f"{place}{MARK}", place)
        self._failures.pop(video.key, None)
        opened.close()
        self._count(0, 1)

    def close(self) -> None:
        """Of a run that was stopped: what is not through is done again."""
        for journal in self._open.values():
            journal.close()

    def _begin(self, video: Video) -> None:
        """An empty journal, in place of one that was begun before."""
        if video.key in self._open:
            self._open.pop(video.key).close()
        path = Path(f"{self._state.journal(video)}{MARK}")
        path.unlink(missing_ok=True)
        self._open[video.key] = JournalWriter(path, self._state.header)
