"""What every pipeline here shares: its command, Beam's options, and progress in the log."""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

# Without a name Beam first tries to download another runner.
DEFAULT_RUNNER = "FnApiRunner"
_LOG_EVERY_IMAGES, _LOG_EVERY_SECONDS = 1000, 30.0


def make_pipeline_options(pipeline_args: Sequence[str]) -> PipelineOptions:
    """Beam's options, on the embedded runner unless another is named.

    Its file systems get them too. They are asked for files before there is a pipeline, which would
    tell them, and s3:// and hdfs:// know nothing without.

    Raises:
        ValueError: For flags that Beam does not know either; it would ignore them silently.
            For a runner that is known to lose data silently.
    """
    options = PipelineOptions(list(pipeline_args))
    known = options.get_all_options(drop_default=True)
    given = options.get_all_options(drop_default=True, retain_unknown_options=True)
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise ValueError(f"unknown flags: {', '.join('--' + name for name in unknown)}")
    if "dask" in str(known.get("runner", "")).lower():
        raise ValueError(
            f"--runner={known['runner']}: Beam's Dask runner drops steps and repeats keys without "
            "an error; use FnApiRunner with --direct_num_workers, or Flink, Spark, Dataflow"
        )
    if "runner" not in known:
        options = PipelineOptions(list(pipeline_args), runner=DEFAULT_RUNNER)
    FileSystems.set_options(options)
    return options


def run_command(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    run: Callable[[argparse.Namespace, list[str]], int],
) -> int:
    """Parses the flags of a pipeline and runs it; the flags it does not know are Beam's.

    Returns:
        The result of `run`, or 2 for unusable input, with a message of one line.
    """
    logging.basicConfig()
    log = logging.getLogger(__package__)
    log.setLevel(logging.INFO)
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv:
        parser.print_help()
        return 2
    args, pipeline_args = parser.parse_known_args(argv)
    try:
        make_pipeline_options(pipeline_args)
        return run(args, pipeline_args)
    except (ValueError, OSError) as error:
        log.debug("the error in full", exc_info=True)
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2


class Progress:
    """A line in the log every 1000 images or 30 seconds."""

    def __init__(self, name: str, log: logging.Logger):
        self._name = name
        self._log = log
        self._images = 0
        self._last = time.monotonic()

    def step(self, images: int = 1) -> None:
        before, self._images = self._images, self._images + images
        late = time.monotonic() - self._last >= _LOG_EVERY_SECONDS
        if late or before // _LOG_EVERY_IMAGES != self._images // _LOG_EVERY_IMAGES:
            self._log.info("%s: %d images so far", self._name, self._images)
            self._last = time.monotonic()
