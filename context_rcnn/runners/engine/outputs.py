"""The files that a run writes: which they are, which it may replace, and writing them."""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from context_rcnn.data.failures import Failure
from context_rcnn.results.options import Options
from context_rcnn.results.write import Outputs, Summary, write_results
from context_rcnn.runners.engine.progress import on_terminal
from context_rcnn.runners.engine.state import FAILURES


def files_of(outputs: Outputs) -> list[str]:
    """The files that tell whether an output is there."""
    files = dataclasses.asdict(outputs)
    if outputs.camtrap_dp:
        files["camtrap_dp"] = os.path.join(outputs.camtrap_dp, "datapackage.json")
    return [os.path.abspath(path) for path in files.values() if path]


def refuse_strangers(outputs: Outputs, ours: Collection[str], overwrite: bool) -> None:
    """Refuses to replace files that no earlier run has written.

    Args:
        outputs: files to write.
        ours: files that earlier runs of this state have written.
        overwrite: replace others, too.
    """
    own = set(map(os.path.normcase, ours))  # names that Windows takes for the same are the same
    there = [path for path in files_of(outputs) if os.path.exists(path)]
    strangers = [path for path in there if os.path.normcase(path) not in own]
    if strangers and not overwrite:
        raise ValueError(
            f"{', '.join(strangers)}: exists already, and is not of this run. Choose another "
            "name, or use --overwrite to replace it when the results are ready"
        )


def check_writable(outputs: Outputs) -> None:
    """Finds out now, not after hours, whether the files can be written.

    Raises:
        ValueError: If the folder of one cannot be written to.
    """
    for path in files_of(outputs):
        folder = os.path.dirname(path)
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ValueError(
                f"{path} cannot be written ({error.strerror or error}): choose another place for "
                "the results with -o FILE"
            ) from error


def write_all(
    journal: Path,
    outputs: Outputs,
    options: Options,
    known: Iterable[Failure],
    remember: Callable[[list[str]], None],
) -> Summary:
    """Writes all results of a journal, and the list of failures beside it.

    Args:
        journal: journal in the folder of the state.
        outputs: files to write.
        options: how.
        known: failures of earlier stages.
        remember: notes in the state which files are this run's own. It is called before the files
            are there, so that a run that is killed in between knows them.
    """
    remember(files_of(outputs))
    outputs = dataclasses.replace(outputs, failures=journal.with_name(FAILURES))
    return write_results(journal, outputs, options, known=known, progress=on_terminal())
