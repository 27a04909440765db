"""The job that Dataflow would be sent, made by Beam's own runner, without an account."""

import json

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

from beam_pipelines.bank_shards import BuildMemoryBank
from beam_pipelines.extraction import BuildOptions, Part
from beam_pipelines.running import make_pipeline_options
from beam_pipelines.sources import ExamplesFile
from context_rcnn.memory_bank.curation import CameraOptions, FrameOptions
from context_rcnn.memory_bank.manifest import BankInfo

pytest.importorskip("google.cloud.storage", reason="apache-beam[gcp] is not installed")

IMAGE = "europe-docker.pkg.dev/my-project/images/context-rcnn"


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The template of a job with the flags of docs/scaling.md, and the pipeline in it."""
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    # Whether the buckets exist is asked of the service.
    monkeypatch.setattr(
        GoogleCloudOptions, "_handle_temp_and_staging_locations", lambda self, validator: []
    )
    flags = [
        *("--runner=DataflowRunner", "--project=my-project", "--region=europe-west4"),
        *("--no_auth", f"--template_location={tmp_path / 'template.json'}"),
        *(f"--staging_location={tmp_path}", f"--temp_location={tmp_path}"),
        *("--machine_type=n2-standard-8", "--max_num_workers=20"),
        *(f"--sdk_container_image={IMAGE}", "--number_of_worker_harness_threads=2"),
        *("--experiments=no_use_multiple_sdk_containers", "--resource_hints=min_ram=12GB"),
        "--dataflow_service_options=worker_accelerator=type:nvidia-tesla-t4;count:1",
    ]
    info = BankInfo("hash", "detections", 12, "float16", "none")
    rules = (FrameOptions(), CameraOptions())
    options = BuildOptions("gs://b/extractor", "gs://b/bank", info, *rules, False, 4, 8)
    part = Part(ExamplesFile("gs://b/train-0.tfrecord", "key"), "gs://b/bank/_progress/parts/0")
    pipeline = beam.Pipeline(options=make_pipeline_options(flags))
    _ = pipeline | "Parts" >> beam.Create([part]) | "Build" >> BuildMemoryBank(options)
    pipeline.run()
    sent = beam_runner_api_pb2.Pipeline.FromString((tmp_path / "pipeline.pb").read_bytes())
    return json.loads((tmp_path / "template.json").read_text()), sent


def test_the_flags_reach_the_machines(job):
    template, _ = job
    environment = template["environment"]
    (workers,) = environment["workerPools"]
    assert template["type"] == "JOB_TYPE_BATCH"
    assert workers["machineType"] == "n2-standard-8"
    assert workers["autoscalingSettings"]["maxNumWorkers"] == 20
    assert workers["numThreadsPerWorker"] == 2
    assert [image["containerImage"] for image in workers["sdkHarnessContainerImages"]] == [IMAGE]
    assert "no_use_multiple_sdk_containers" in environment["experiments"]
    service = environment["serviceOptions"]
    assert service == ["worker_accelerator=type:nvidia-tesla-t4;count:1"]


def test_the_steps_have_their_names_and_every_one_its_resources(job):
    _, sent = job
    names = {step.unique_name for step in sent.components.transforms.values()}
    steps = [
        "SpreadParts",
        "ExtractPart",
        "Files",
        "ByFile",
        "PartsOfFiles",
        "WriteBankShard",
        "Places",
        "Failures",
        "Once",
        "Finish",
    ]
    assert {"Parts", *(f"Build/{step}" for step in steps)} <= names
    hint = common_urns.resource_hints.MIN_RAM_BYTES.urn
    used = {step.environment_id for step in sent.components.transforms.values()} - {""}
    assert used
    for name in used:
        environment = sent.components.environments[name]
        assert environment.resource_hints[hint] == b"12000000000"
