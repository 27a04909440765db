"""Flags for Beam."""

import pytest

from beam_pipelines.running import make_pipeline_options


def test_a_runner_that_loses_data_is_refused():
    with pytest.raises(ValueError, match="drops steps"):
        make_pipeline_options(["--runner=apache_beam.runners.dask.dask_runner.DaskRunner"])
