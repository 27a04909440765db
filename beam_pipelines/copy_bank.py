"""Banks between storages: readers map them from the local disk, pipelines write them anywhere."""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence

from beam_pipelines.files import at_hand, files_of
from beam_pipelines.running import make_pipeline_options
from context_rcnn.memory_bank import writer
from context_rcnn.memory_bank.manifest import FILE_NAME, Manifest, read_manifest


def copy_bank(
    source: str,
    target: str,
    progress: Callable[[Iterable], Iterable] = iter,
    pipeline_args: Sequence[str] = (),
) -> Manifest:
    """Copies the bank `source` to `target`, completely or not at all.

    Files that are the same already, by the hashes of their cameras, are not copied again.

    Args:
        source: Folder of a bank, on any storage that Beam knows.
        target: Folder to write, likewise.
        progress: Shows how far this is.
        pipeline_args: Flags for Beam, such as `--s3_endpoint_url`.
    """
    make_pipeline_options(pipeline_args)
    source, target = source.rstrip("/"), target.rstrip("/")
    files = files_of(target)
    writer.recover(target, files)
    manifest = read_manifest(source, files_of(source))
    there = files.size(os.path.join(target, FILE_NAME)) is not None
    old = read_manifest(target, files) if there else None
    for shard, name in progress(list(enumerate(manifest.shard_names))):
        if old is not None and _content(old, shard) == _content(manifest, shard):
            continue
        with (
            at_hand(os.path.join(source, name)) as path,
            open(path, "rb") as file,
            writer.staged(target, name, files) as copy,
        ):
            shutil.copyfileobj(file, copy)
    writer.commit(target, manifest, files)
    return manifest


def _content(manifest: Manifest, shard: int) -> tuple:
    """Equal for equal files of two banks."""
    if shard >= len(manifest.shard_bytes):
        return ()
    cameras = {name: info for name, info in manifest.cameras.items() if info.shard == shard}
    return manifest.info, len(manifest.shard_bytes), manifest.shard_bytes[shard], cameras
