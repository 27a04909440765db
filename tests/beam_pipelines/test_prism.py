"""Prism, Beam's own engine for one machine, where it is installed: the same bytes.

go install github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0
"""

import os
import shutil

import pytest

from beam_pipelines import build_memory_bank
from context_rcnn.memory_bank import maintenance

PRISM = os.environ.get("PRISM") or shutil.which("prism")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PRISM, reason="PRISM names no program, and there is none in PATH"),
]


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_prism_does_not_change_a_byte(archive, extractor, tmp_path):
    flags = [f"--examples={archive}", f"--extractor={extractor}"]
    build_memory_bank.main([*flags, f"--output_dir={tmp_path / 'one'}"])
    code = build_memory_bank.main(
        [
            *flags,
            f"--output_dir={tmp_path / 'two'}",
            *("--runner=PrismRunner", f"--prism_location={PRISM}"),
            "--environment_type=LOOPBACK",
        ]
    )
    assert code == 0
    assert bytes_of(tmp_path / "two") == bytes_of(tmp_path / "one")
    assert maintenance.verify(str(tmp_path / "two")) == []
