"""Images as they come, each detected with the memory of its camera so far: `context-rcnn watch`.

    STATE/journal.jsonl        a line for each image, see `results.journal`
    STATE/failures.jsonl       everything that could not be used, and what was passed over
    STATE/clocks.json          corrections of camera clocks, in force for the images so far
    STATE/cameras/HASH.npz     the memory of a camera, after so many images of it

The journal is what counts: an image with a line is done. Memories are saved now and then; what a
run that was killed had seen since, the next one shows its model again, without a word, before the
camera's next image. So it makes no difference when a run was stopped.
"""

import collections
import contextlib
import dataclasses
import datetime
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.clocks import UNCORRECTED, CameraClocks
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.images import ImageOptions
from context_rcnn.data.paths import FileError
from context_rcnn.data.prepare import STAGE
from context_rcnn.data.sequences import DEFAULT_GAP_SECONDS
from context_rcnn.data.timestamps import EPOCH
from context_rcnn.data.walk import PassedOver, walk_images
from context_rcnn.results.atomic import Transaction
from context_rcnn.results.journal import Journal, JournalWriter
from context_rcnn.results.records import ImageResult
from context_rcnn.runners.engine.detect import detect_batch, to_result
from context_rcnn.runners.engine.files import UNKNOWN_CAMERA, named, see_file, size_and_date
from context_rcnn.runners.engine.model import (
    Outputs,
    check_fills_memory,
    check_takes_images,
    header_of,
)
from context_rcnn.runners.engine.prepared import Prepared, prepare_image
from context_rcnn.runners.engine.state import FAILURES, JOURNAL, begin_state
from context_rcnn.runners.engine.steps import (
    State,
    StreamModel,
    load_state,
    number_of,
    save_state,
    step_camera,
)

CAMERAS, CLOCKS = "cameras", "clocks.json"


class Frames(Protocol):
    """Where images come from.

    Attributes:
        passed: what is passed over; whoever reads it takes it out.
    """

    passed: PassedOver

    def new(self, seen: Callable[[str], bool]) -> Iterator[Prepared]:
        """Images whose names were not seen, as they come."""

    def again(self, image: ImageResult) -> Prepared:
        """An image that was seen before."""


@dataclasses.dataclass
class _Camera:
    """What is known of a camera without its memory: images so far, and the latest burst."""

    frames: int = 0
    seconds: int | None = None
    burst: str = ""


@dataclasses.dataclass(frozen=True)
class _Memory:
    """The model's state of a camera, and how many of its images have gone into it."""

    state: State
    frames: int


class Watcher:
    """Detects in images one by one, and remembers them.

    Args:
        model: an exported model.
        state_dir: folder of the state, new or begun by an earlier run of the same model.
        settings: other settings that change results.
        most_cameras: number of cameras whose memories are in RAM; the others are on disk.
        save_every: images between two savings.
        sequence_gap: longest pause within a burst, in seconds.
        clocks: corrections that the dates of images already have.

    Raises:
        ValueError: If the state is of another model or other settings, or of something else; or if
            images of a camera have gone into its memory with other corrections.
    """

    def __init__(
        self,
        model: StreamModel,
        state_dir: str | Path,
        *,
        settings: Mapping[str, Any] | None = None,
        most_cameras: int = 16,
        save_every: int = 50,
        sequence_gap: int = DEFAULT_GAP_SECONDS,
        clocks: CameraClocks = UNCORRECTED,
        created: str = "",
    ):
        if most_cameras < 1 or save_every < 1:
            raise ValueError("cameras and save_every must be positive")
        check_takes_images(model)
        check_fills_memory(model)
        self._model = model
        self._remembers = model.has_memory or bool(model.description.get("short_term_window"))
        self._most_cameras, self._save_every = most_cameras, save_every
        self._gap = sequence_gap
        header = header_of(
            model, {"online": True, **(settings or {})}, memory=self._remembers, created=created
        )
        self._folder = begin_state(state_dir, "a run of watch", JOURNAL)
        self._journal = JournalWriter(self._folder / JOURNAL, header)
        self._seen: set[int] = set()
        self._cameras: dict[str, _Camera] = collections.defaultdict(_Camera)
        self._memories: collections.OrderedDict[str, _Memory] = collections.OrderedDict()
        self._changed: set[str] = set()
        failed: dict[str, ImageResult] = {}
        for image in Journal(self._folder / JOURNAL).results():
            self._count(image)
            failed.pop(image.file, None)
            if image.failure:
                failed[image.file] = image
        self._keep_clocks(clocks)
        damaged = _damaged(self._folder / FAILURES)
        self._failures = (self._folder / FAILURES).open("w", encoding="utf-8")
        self._failures.writelines(damaged)
        for image in failed.values():
            self._report(image)

    def run(self, frames: Frames) -> Iterator[str]:
        """Detects in new images; yields a line of JSON for each once it is in the journal."""
        since = 0
        for prepared in frames.new(lambda file: number_of(file) in self._seen):
            self._take(frames.passed)
            result, memory = self._detect(prepared, frames)
            self._journal.append(result)
            if result.failure:
                self._report(result)
            elif prepared.damage is not None:
                self._report(result, prepared.damage)
            self._count(result)
            if memory is not None:
                self._memories[result.camera] = memory
                self._changed.add(result.camera)
            yield result.to_json(self._model.class_names)
            since += 1
            if since >= self._save_every:
                self.save()
                since = 0
        self._take(frames.passed)
        self.save()

    def save(self) -> None:
        """Saves the memories that have changed."""
        self._journal.sync()
        self._failures.flush()
        for camera in sorted(self._changed):
            self._save(camera)

    def close(self) -> None:
        self.save()
        self._journal.close()
        self._failures.close()

    def __enter__(self) -> "Watcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep_clocks(self, clocks: CameraClocks) -> None:
        """Notes the corrections, which must not change once a memory has dates with them."""
        path = self._folder / CLOCKS
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for name, camera in self._cameras.items():
            then, now = before.get(name, ""), clocks.rule(name)
            if camera.frames and then != now:
                self._journal.close()
                raise ValueError(
                    f"{self._folder}: the memory of camera {name!r} has dates with the clock "
                    f"correction {then or 'none'}, and now it is {now or 'none'}. Give the same "
                    "corrections, or another --state to begin again"
                )
        with Transaction() as files:
            files.open(path).write(json.dumps({name: clocks.rule(name) for name in clocks.cameras}))

    def _report(self, image: ImageResult, damage: FileError | None = None) -> None:
        """Names an image that cannot be used, or is used in spite of its damage."""
        names = (image.file, image.image_id, image.camera)
        if damage is None:
            failure = Failure(STAGE, Reason(image.failure), image.failure_text, *names)
        else:
            failure = Failure(STAGE, damage.reason, damage.detail, *names, lost="nothing")
        self._failures.write(failure.to_json() + "\n")

    def _take(self, passed: PassedOver) -> None:
        self._failures.writelines(failure.to_json() + "\n" for failure in passed.take())

    def _detect(self, prepared: Prepared, frames: Frames) -> tuple[ImageResult, _Memory | None]:
        """What is found in an image, and the memory of its camera with it, if it is remembered."""
        image = dataclasses.replace(prepared.image, burst=self._burst(prepared.image))
        prepared = dataclasses.replace(prepared, image=image)
        if prepared.problem or not self._remembers or not image.camera:
            return detect_batch(self._model, None, [prepared], 1)[0], None
        found, memory = self._next(prepared, self._memory(image.camera, frames))
        return to_result(image, found), memory

    def _next(
        self, prepared: Prepared, memory: _Memory
    ) -> tuple[Outputs | FileError, _Memory | None]:
        """What the model finds in the next image of a camera, and its memory with that image."""
        image = prepared.image
        found, state = step_camera(
            self._model, prepared.encoded, image.camera, image.seconds, memory.state
        )
        if isinstance(found, FileError):
            return found, None
        return found, _Memory(state, memory.frames + 1)

    def _memory(self, camera: str, frames: Frames) -> _Memory:
        """The memory of a camera, after all its images that are in the journal."""
        if camera in self._memories:
            self._memories.move_to_end(camera)
            return self._memories[camera]
        while len(self._memories) >= self._most_cameras:
            oldest = next(iter(self._memories))
            if oldest in self._changed:
                self._save(oldest)
            del self._memories[oldest]
        memory = self._load(camera)
        if memory.frames < self._cameras[camera].frames:
            memory = self._show_again(camera, memory, frames)
        self._memories[camera] = memory
        return memory

    def _show_again(self, camera: str, memory: _Memory, frames: Frames) -> _Memory:
        """Shows the model the images of a camera that its memory does not have yet."""
        number = 0
        for image in Journal(self._folder / JOURNAL).results():
            if image.camera != camera or image.failure:
                continue
            number += 1
            if number <= memory.frames:
                continue
            prepared = frames.again(image)
            found: Outputs | FileError | None = prepared.problem
            after = None
            if found is None:
                found, after = self._next(prepared, memory)
            if isinstance(found, FileError):
                why = f"{found.reason}: {found.detail}"
                print(f"{image.file} cannot be remembered: {why}", file=sys.stderr)
            memory = after or _Memory(memory.state, memory.frames + 1)
        return memory

    def _count(self, image: ImageResult) -> None:
        self._seen.add(number_of(image.file))
        camera = self._cameras[image.camera]
        camera.frames += not image.failure
        if image.burst:
            camera.seconds, camera.burst = image.seconds, image.burst

    def _burst(self, image: ImageResult) -> str:
        """The burst of an image; one that is older than the last begins a new one, too."""
        last = self._cameras[image.camera]
        if not image.camera:
            return ""
        now, before = image.seconds, last.seconds
        if now is not None and before is not None and 0 <= now - before <= self._gap:
            return last.burst
        return f"from:{image.image_id}"

    def _place(self, camera: str) -> Path:
        return self._folder / CAMERAS / f"{number_of(camera):016x}.npz"

    def _save(self, camera: str) -> None:
        memory = self._memories[camera]
        save_state(self._place(camera), memory.state, memory.frames)
        self._changed.discard(camera)

    def _load(self, camera: str) -> _Memory:
        path = self._place(camera)
        if not path.exists():
            return _Memory(self._model.initial_state(1), 0)
        try:
            return _Memory(*load_state(path))
        except ValueError as error:
            raise ValueError(
                f"{error}; delete this file to start the camera's memory again"
            ) from error


class FolderFrames:
    """New images of a folder, found by looking again and again.

    An image is taken when its size has stayed the same from one look to the next. Of images that
    are found together, dated ones come first, by time. A file that could not be read is tried again
    when it changes.

    Args:
        root: the folder.
        namer: names the camera of a path.
        options: rules for the images that are accepted.
        clocks: corrections of clocks that were wrong. Times of arrival are not corrected.
        poll: seconds between two looks.
        once: look once, and take what is there.
        clock: "exif", or "arrival" to date images without an EXIF date by when they are found.
    """

    def __init__(
        self,
        root: str,
        namer: CameraNamer,
        options: ImageOptions,
        *,
        clocks: CameraClocks = UNCORRECTED,
        poll: float = 5.0,
        once: bool = False,
        clock: str = "exif",
    ):
        if not os.path.isdir(root):
            raise ValueError(f"{root} is not a folder")
        if poll <= 0:
            raise ValueError(f"poll must be positive, got {poll}")
        self._root, self._namer, self._options = root, namer, options
        self._clocks, self._poll, self._once, self._clock = clocks, poll, once, clock
        self._failed: dict[str, tuple[int, int]] = {}
        self.passed = PassedOver()
        self._passed: set[int] = set()

    def new(self, seen: Callable[[str], bool]) -> Iterator[Prepared]:
        waiting: dict[str, tuple[int, int]] = {}
        cameras: set[str] | None = set()
        while True:
            found, passed = {}, PassedOver()
            for file, path in named(walk_images(Path(self._root), passed)):
                if cameras is not None:
                    cameras.add(self._namer(file) or UNKNOWN_CAMERA)
                if not seen(file) or file in self._failed:
                    state = (-1, -1)
                    with contextlib.suppress(OSError):  # a look at the file says why
                        state = size_and_date(self._root, path)
                    found[file] = (path, state)
            if cameras is not None:
                self._check_clocks(cameras)
                cameras = None
            self._pass_over(passed)
            ready = [
                (file, path)
                for file, (path, state) in found.items()
                if state != self._failed.get(file) and (self._once or state == waiting.get(file))
            ]
            waiting = {file: state for file, (_, state) in found.items()}
            for image, problem in sorted(map(self._look, ready), key=_by_time):
                prepared = Prepared(image, problem=problem) if problem else self.again(image)
                self._failed.pop(image.file, None)
                if prepared.problem:
                    self._failed[image.file] = waiting[image.file]
                yield prepared
            if self._once:
                return
            time.sleep(self._poll)

    def again(self, image: ImageResult) -> Prepared:
        return prepare_image(image, self._root, self._options)

    def _check_clocks(self, cameras: set[str]) -> None:
        """Says which corrected camera has no image yet: a name may be wrong, or a camera late."""
        try:
            self._clocks.check(sorted(cameras - {UNKNOWN_CAMERA}))
        except ValueError as error:
            print(f"{error}; its images are corrected when they come", file=sys.stderr)

    def _pass_over(self, passed: PassedOver) -> None:
        """Notes what was passed over, each file once; folders that can be listed again count."""
        self.passed.unlisted = passed.unlisted
        for failure in passed.take():
            number = number_of(f"{failure.reason} {failure.file!r}")
            if number not in self._passed:
                self._passed.add(number)
                self.passed.found.append(failure)

    def _look(self, names: tuple[str, str]) -> tuple[ImageResult, FileError | None]:
        """A new image, and why it cannot be used."""
        seen = see_file(self._root, self._namer, self._clocks, {}, names)
        seconds = seen.seconds
        if seconds is None and self._clock == "arrival":
            seconds = int((datetime.datetime.now() - EPOCH).total_seconds())  # its wall clock
        image = ImageResult(seen.file, seen.file, seen.camera, seconds)
        failure = FileError(Reason(seen.failure), seen.failure_text) if seen.failure else None
        return image, failure


def _damaged(path: Path) -> list[str]:
    """Lines of an earlier run on images that are damaged, which no journal has."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if f'"{Reason.DAMAGED_DATA}"' in line and line.endswith("\n")]


def _by_time(found: tuple[ImageResult, FileError | None]) -> tuple:
    image = found[0]
    return image.seconds is None, image.seconds or 0, image.file
