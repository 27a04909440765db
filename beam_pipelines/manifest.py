"""What describes a folder of shards: the names of its files, its counts, words for people."""

from typing import Any

from apache_beam.io.filesystems import FileSystems

from beam_pipelines.shards import ShardResult
from context_rcnn.data import label_map
from context_rcnn.data.failures import Failure
from context_rcnn.data.splits import VAL
from context_rcnn.data.summary import Summary, format_camera_table, format_counts, format_notes

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
FAILURES = "failures.jsonl"
LABEL_MAP = label_map.FILE_NAME
SPLITS = "splits.json"


def count_shards(
    results: list[ShardResult], failures: list[Failure], reader_failures: list[Failure]
) -> dict[str, Any]:
    """Counts over all shards and over what the readers left out.

    Args:
        results: Every shard.
        failures: All failures, those of the shards and those of the readers.
        reader_failures: Those of the readers.
    """
    by_split: dict[str, Summary] = {}
    everything = Summary()
    for failure in reader_failures:
        everything.add_failure(failure)
    for result in results:
        by_split.setdefault(result.shard.split, Summary()).merge(result.summary)
        everything.merge(result.summary)
    return everything.to_dict() | {
        "images_written": everything.images,
        "images_lost": sum(failure.lost == "image" for failure in failures),
        "splits": {
            split: {
                "total": summary.total.to_dict(),
                "boxes_by_class": dict(sorted(summary.classes.items())),
                "cameras": sorted(summary.cameras),
            }
            for split, summary in by_split.items()
        },
        "shards": [
            {
                "file": result.shard.file_name,
                "split": result.shard.split,
                "records": result.records,
                "bytes": result.bytes,
                **result.summary.total.states_to_dict(),
            }
            for result in results
        ],
    }


def format_manifest(manifest: dict[str, Any], output_dir: str) -> str:
    """Closing words for a terminal: tables, warnings, and what to do next."""
    written, listed = manifest["images_written"], manifest["images_listed"]
    splits = {split: facts["total"]["images"] for split, facts in manifest["splits"].items()}
    total = manifest["total"]
    sections = [
        format_camera_table(manifest["cameras"]),
        f"images by split\n{format_counts(splits)}",
        f"failures\n{format_counts(manifest['failures'])}",
        f"notes\n{format_notes(manifest['notes'])}",
        f"{written} of {listed} images are in {len(manifest['shards'])} shards; "
        f"{manifest['images_lost']} are not. Every failure is named in "
        f"{FileSystems.join(output_dir, FAILURES)}",
    ]
    if not written:
        sections.append("ERROR: no image could be used.")
    elif not total["boxes"]:
        sections.append(
            "WARNING: no image has boxes. These examples can feed a memory bank or a detector, "
            "but not train one: that takes --input_json with boxes."
        )
    sections += [f"WARNING: {warning}" for warning in manifest.get("warnings", ())]
    if total["boxes"]:
        val = f",task.validation_data.input_path='{output_dir}/val-*'" if splits.get(VAL) else ""
        sections.append(
            "next: train a detector with\n"
            "  context-rcnn train --experiment=faster_rcnn_c4 \\\n"
            "    --model_dir=runs/first --params_override="
            f"task.train_data.input_path='{output_dir}/train-*'{val}"
        )
    elif written:
        sections.append(
            "next: fill a memory with\n"
            f"  context-rcnn remember --examples={output_dir} --extractor=EXTRACTOR "
            "--output_dir=bank"
        )
    return "\n\n".join(sections)
