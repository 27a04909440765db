"""Messages about results, of images as of videos."""

from collections.abc import Iterable

from context_rcnn.data.console import shown
from context_rcnn.data.failures import Reason
from context_rcnn.results.write import Summary

_WHY_NOT_PACKAGED = {
    Reason.UNDATED: "have no date",
    Reason.NO_CAMERA: "have no camera",
    Reason.BAD_DATE: "were taken outside of every deployment of their camera",
    Reason.BAD_FIELD: "have a name that the standard does not allow",
}


def on_results(summary: Summary, threshold: float, files: Iterable[object]) -> str:
    """The results of images, and the files that hold them."""
    lines = [
        "",
        f"{summary.images:,} images: {found_and_empty(summary, threshold)}, "
        f"{summary.failed:,} that could not be used",
        *by_class(summary),
    ]
    if summary.suspect:
        lines.append(
            f"  {summary.suspect:,} more are suspected background, with a negative confidence"
        )
    if smoothed := summary.counts["smoothed"]:
        lines.append(f"  {smoothed:,} have the class of their burst, not their own (--smooth)")
    lines += on_taxa(summary)
    if reasons := by_reason(summary):
        lines.append(f"problems: {reasons}")
    return "\n".join([*lines, *written(files)])


def on_taxa(summary: Summary) -> list[str]:
    """What a table of taxa did; nothing without one."""
    lines = []
    if rolled_up := summary.counts["rolled_up"]:
        lines.append(f"  {rolled_up:,} have the taxon of their likely classes (--taxonomy)")
    if summary.unplaced:
        names = ", ".join(map(shown, summary.unplaced))
        lines.append(f"  not in the table of taxa, so left as they are: {names}")
    return lines


def on_package(summary: Summary) -> list[str]:
    """What the Camtrap DP lacks, and why; nothing if it has every image."""
    number = sum(summary.not_packaged.values())
    if not number:
        return []
    reasons = ", ".join(
        f"{_WHY_NOT_PACKAGED.get(reason, str(reason))} ({count:,})"
        for reason, count in summary.not_packaged.most_common()
    )
    return [f"{number:,} images are NOT in the Camtrap DP package, because they {reasons}"]


def found_and_empty(summary: Summary, threshold: float) -> str:
    """How many images or frames have a detection that counts, and how many have none."""
    found = summary.images - summary.empty - summary.failed
    return f"{found:,} with a detection of at least {threshold:g}, {summary.empty:,} without"


def by_class(summary: Summary) -> list[str]:
    """One line per class."""
    return [f"  {name}: {count:,}" for name, count in sorted(summary.detections.items())]


def by_reason(summary: Summary) -> str:
    """What could not be used, by reason; "" if everything could."""
    reasons = sorted(summary.failures.items())
    return ", ".join(f"{reason} ({count:,})" for reason, count in reasons)


def written(files: Iterable[object]) -> list[str]:
    """The files with the results, one per line."""
    return ["written:", *(f"  {path}" for path in files)]
