"""How a state begins, and how the next run finds it again.

STATE/.context-rcnn    says that the folder is ours, and that nothing below it is a photograph
STATE/SIGNATURE        the first file that a run of this kind writes, with the settings of the run
STATE/journal.jsonl    the results, from which all formats are written
STATE/failures.jsonl   everything that could not be used
"""

import shutil
from pathlib import Path

from context_rcnn.data.walk import OWN_FOLDER

JOURNAL, FAILURES = "journal.jsonl", "failures.jsonl"
OTHERWISE = "Use the earlier settings, another output, or --restart to start from the beginning"
"""What to do where `Header.refuse_others` finds differing settings in such a folder."""


def begin_state(folder: str | Path, kind: str, signature: str, *, restart: bool = False) -> Path:
    """Makes the folder of a state, finds that of an earlier run, or empties it.

    Args:
        folder: folder of the state.
        kind: kind of the run, for the message.
        signature: name of a file that every state of this kind has. A restart removes it last, so
            that one that was killed can be given again.
        restart: forget what earlier runs left.

    Raises:
        ValueError: If there is something that no run of this kind began. It is left as it is.
    """
    folder = check_state(folder, kind, signature)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / OWN_FOLDER).touch()
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be written ({error.strerror or error}): choose another place for the "
            "results with -o FILE, and for the state with --state_dir DIR"
        ) from error
    if restart:
        inside = [path for path in folder.iterdir() if path.name != OWN_FOLDER]
        for path in sorted(inside, key=lambda path: (path.name == signature, path.name)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return folder


def check_state(folder: str | Path, kind: str, signature: str) -> Path:
    """Only refuses a folder that no run of this kind began, as `begin_state` does."""
    folder = Path(folder)
    if not _is_ours(folder, signature):
        raise ValueError(
            f"{folder} exists and is not the state of {kind}: choose another folder for the "
            "state, or another output"
        )
    return folder


def _is_ours(folder: Path, signature: str) -> bool:
    """Whether a state of this kind may begin or go on here."""
    if not folder.is_dir():
        return not folder.exists()
    names = {path.name for path in folder.iterdir()}
    if not names:
        return True
    # What a run that was killed in its first moments leaves.
    only_begun = all(name.startswith((OWN_FOLDER, signature)) for name in names)
    return OWN_FOLDER in names and (signature in names or only_begun)
