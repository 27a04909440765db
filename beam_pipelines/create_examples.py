"""Writes a camera archive as sharded TFRecords of tf.Example.

failures.jsonl lists every image that is left out, and manifest.json has the counts. After a crash,
run the same command again: it continues. Any number of workers writes the same bytes.
"""

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from beam_pipelines import shards
from beam_pipelines.files import files_of, read_text, write_text
from beam_pipelines.manifest import (
    FAILURES,
    FORMAT_VERSION,
    LABEL_MAP,
    MANIFEST,
    SPLITS,
    count_shards,
    format_manifest,
)
from beam_pipelines.running import Progress, make_pipeline_options, run_command
from beam_pipelines.shards import Shard, ShardResult
from beam_pipelines.tfrecord import TFRecordWriter
from context_rcnn.data import flags
from context_rcnn.data.archive import ArchiveOptions, SplitArchive, read_archive
from context_rcnn.data.failures import Failure, to_jsonl
from context_rcnn.data.images import ImageOptions
from context_rcnn.data.label_map import format_label_map
from context_rcnn.data.prepare import prepare
from context_rcnn.data.splits import lopsided
from context_rcnn.data.summary import Summary, format_cameras_found

_LOG = logging.getLogger("beam_pipelines.create_examples")

_EPILOG = """\
examples:
  A folder of camera-trap images, one folder per camera, no labels:
    python -m beam_pipelines.create_examples --input_folder=photos --output_dir=examples

  COCO Camera Traps annotations with the published split, images reduced to 1024 pixels:
    python -m beam_pipelines.create_examples \\
      --input_json=caltech.json --image_root=photos --splits_file=splits.json \\
      --max_side=1024 --output_dir=examples

  MegaDetector boxes for images that have only a label, two workers:
    python -m beam_pipelines.create_examples \\
      --input_json=snapshot.json --image_root=photos --megadetector_json=md.json \\
      --output_dir=examples --direct_num_workers=2 --direct_running_mode=multi_threading

All other flags go to Beam: --runner, --direct_num_workers, ... Workers on other machines must see
the images under the same path; the output may lie on any file system that Beam can write to.
"""


class WriteShard(beam.DoFn):
    """Writes one shard, image by image; one image is in memory at a time.

    Yields the `ShardResult` without its failures; these go, as JSON lines, to the output `FAILED`.
    """

    FAILED = "failed"

    def __init__(
        self,
        output_dir: str,
        image_root: str,
        image_options: ImageOptions,
        label_map: dict[str, int],
    ):
        self._output_dir = output_dir
        self._image_root = image_root
        self._image_options = image_options
        self._label_map = label_map

    def process(self, shard: Shard) -> Iterator[Any]:
        result = shards.finished_result(self._output_dir, shard)
        if result is None:
            result = self._write(shard)
            shards.save_result(self._output_dir, result)
        else:
            _count("shards_already_complete")
        _count("images_written", result.records)
        for reason, number in result.summary.reasons.items():
            _count(f"failed_{reason}", number)
        yield dataclasses.replace(result, failures=())
        for line in result.failures:
            yield beam.pvalue.TaggedOutput(self.FAILED, line)

    def _write(self, shard: Shard) -> ShardResult:
        # TensorFlow takes seconds to import; --help and runs with nothing to do spare it.
        from context_rcnn.data.examples import encode_example

        summary, failures, progress = Summary(), [], Progress(shard.name, _LOG)
        path = FileSystems.join(self._output_dir, shard.file_name)
        with files_of(path).create(path) as file:
            writer = TFRecordWriter(file)
            for record in shards.planned_records(self._output_dir, shard):
                prepared, problems = prepare(record, self._image_root, self._image_options)
                if prepared is not None:
                    writer.write(encode_example(prepared, self._label_map))
                    summary.add_image(prepared)
                for failure in problems:
                    summary.add_failure(failure)
                    failures.append(failure.to_json())
                progress.step()
        return ShardResult(shard, writer.records, writer.bytes, summary, tuple(failures))


class CreateExamples(beam.PTransform):
    """Shards to TFRecord files, then one manifest over all of them."""

    def __init__(
        self,
        output_dir: str,
        archive: SplitArchive,
        image_options: ImageOptions,
        options: dict[str, Any],
    ):
        """
        Args:
            output_dir: Folder of the plan and the shards.
            archive: Archive that the plan was made from.
            image_options: Rules for the images that are accepted.
            options: All options, to be kept in the manifest.
        """
        super().__init__()
        self._write = WriteShard(output_dir, archive.root, image_options, archive.label_map)
        self._finish = Finish(output_dir, archive, options)

    def expand(self, planned: beam.PCollection[Shard]) -> beam.PCollection[str]:
        written = (
            planned
            | "SpreadShards" >> beam.Reshuffle()
            | "WriteShard"
            >> beam.ParDo(self._write).with_outputs(WriteShard.FAILED, main="written")
        )
        return (
            planned.pipeline
            | "Once" >> beam.Create([None])
            | "Finish"
            >> beam.ParDo(
                self._finish,
                beam.pvalue.AsList(written["written"]),
                beam.pvalue.AsList(written[WriteShard.FAILED]),
            )
        )


class Finish(beam.DoFn):
    """Writes what describes the shards, the manifest last; removes what earlier runs left.

    Yields the path of the manifest.
    """

    def __init__(self, output_dir: str, archive: SplitArchive, options: dict[str, Any]):
        self._output_dir = output_dir
        self._texts = {
            LABEL_MAP: format_label_map(archive.label_map),
            SPLITS: archive.splits.to_json(),
        }
        self._splits, self._val_fraction = archive.splits, options["archive"]["val_fraction"]
        self._facts = {
            "format_version": FORMAT_VERSION,
            "images_listed": archive.images_listed,
            "notes": dict(sorted(archive.notes.items())),
            "options": options,
        }

    def process(
        self, _: None, results: list[ShardResult], failure_lines: list[str]
    ) -> Iterator[str]:
        results = sorted(results, key=lambda result: result.shard.name)
        reader_failures = shards.reader_failures(self._output_dir)
        failures = [*reader_failures, *map(Failure.from_json, failure_lines)]
        shards.remove_leftovers(self._output_dir, {result.shard.name for result in results})
        manifest: dict[str, Any] = self._facts | count_shards(results, failures, reader_failures)
        images = {name: facts["total"]["images"] for name, facts in manifest["splits"].items()}
        manifest["warnings"] = lopsided(self._splits, images, self._val_fraction)
        texts = self._texts | {
            FAILURES: to_jsonl(failures),
            MANIFEST: json.dumps(manifest, indent=1, sort_keys=True) + "\n",
        }
        for name, text in texts.items():
            write_text(FileSystems.join(self._output_dir, name), text)
        yield FileSystems.join(self._output_dir, MANIFEST)


def create_examples(
    archive_options: ArchiveOptions,
    image_options: ImageOptions,
    output_dir: str,
    *,
    num_shards: int | None = None,
    shard_megabytes: float = shards.DEFAULT_SHARD_MEGABYTES,
    overwrite: bool = False,
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes the examples of an archive; returns the manifest.

    Writes `<split>-00000-of-00008.tfrecord`, `label_map.pbtxt`, `splits.json`, `failures.jsonl`
    and, last, `manifest.json`. A folder without a manifest is unfinished. Two runs must not write
    to one folder at the same time.

    Args:
        archive_options: Place of the archive, and options for reading it.
        image_options: Rules for the images that are accepted, and for their conversion.
        output_dir: Folder to write to, on any file system Beam knows.
        num_shards: Shards of each split; None to choose by size.
        shard_megabytes: Size of a shard to aim at.
        overwrite: Also write shards again that are complete.
        pipeline_args: Flags for Beam.

    Raises:
        ValueError: If an input as a whole, or an option, is unusable.
    """
    if num_shards is not None and num_shards < 1 or shard_megabytes <= 0:
        raise ValueError("num_shards and shard_megabytes must be positive")
    shards.check_output_dir(output_dir)
    pipeline_options = make_pipeline_options(pipeline_args)
    archive = read_archive(archive_options)
    shards.refuse_unlisted(output_dir, archive.failures)
    _LOG.info("cameras found:\n%s", format_cameras_found(archive.records))
    settings = {"image": dataclasses.asdict(image_options), "label_map": archive.label_map}
    planned = shards.make_plan(
        {split: shards.mixed(members) for split, members in archive.records.items()},
        archive.root,
        output_dir,
        num_shards=num_shards,
        shard_megabytes=shard_megabytes,
        settings=json.dumps([FORMAT_VERSION, settings], sort_keys=True),
    )
    shards.save_reader_failures(output_dir, archive.failures)
    if overwrite:
        shards.forget_results(output_dir, planned)
    manifest_path = FileSystems.join(output_dir, MANIFEST)
    files_of(output_dir).delete(manifest_path)
    _LOG.info("writing %d shards to %s", len(planned), output_dir)
    options = {
        "archive": dataclasses.asdict(archive_options),
        "image": dataclasses.asdict(image_options),
        "num_shards": num_shards,
        "shard_megabytes": shard_megabytes,
    }
    with beam.Pipeline(options=pipeline_options) as pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create(planned)
            | "CreateExamples" >> CreateExamples(output_dir, archive, image_options, options)
        )
    return json.loads(read_text(manifest_path) or "{}")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="context-rcnn examples",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flags.add_archive_flags(parser)
    output = parser.add_argument_group("output")
    output.add_argument("--output_dir", required=True, metavar="DIR", help="folder to write")
    output.add_argument(
        "--num_shards",
        type=int,
        metavar="N",
        help="number of shards per split (default: from --shard_megabytes)",
    )
    output.add_argument(
        "--shard_megabytes",
        type=float,
        metavar="MB",
        default=shards.DEFAULT_SHARD_MEGABYTES,
        help="approximate size of a shard (default: %(default)s)",
    )
    output.add_argument(
        "--overwrite", action="store_true", help="write all shards again, also complete ones"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0 if it wrote something and missed no folder, 1 if not, 2 for bad input."""
    return run_command(build_parser(), argv, _run_with)


def _run_with(args: argparse.Namespace, pipeline_args: list[str]) -> int:
    manifest = create_examples(
        flags.archive_options(args),
        flags.image_options(args),
        args.output_dir,
        num_shards=args.num_shards,
        shard_megabytes=args.shard_megabytes,
        overwrite=args.overwrite,
        pipeline_args=pipeline_args,
    )
    print(format_manifest(manifest, args.output_dir))
    missing = shards.not_listed(shards.reader_failures(args.output_dir))
    return 0 if manifest["images_written"] and not missing else 1


def _count(name: str, number: int = 1) -> None:
    Metrics.counter("create_examples", name).inc(number)


if __name__ == "__main__":
    # Workers unpickle steps by the name of their module, which must not be "__main__".
    from beam_pipelines.create_examples import main as run

    sys.exit(run())
