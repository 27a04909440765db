"""What a TPU would compile, XLA compiles here."""

import pytest

from tpu import compile_check


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv",
    [
        ["--experiment=faster_rcnn_c4", "--batch_size=1"],
        ["--experiment=faster_rcnn_fpn", "--params_override=task.model.image_size=[320,320]"],
    ],
    ids=["the paper's detector, whole", "a pyramid"],
)
def test_full_size_detectors_compile(capsys, argv):
    assert compile_check.main(argv) == 0
    assert capsys.readouterr().out.count("compiled and ran once") == 2


def test_wrong_settings_are_refused_at_once(capsys):
    with pytest.raises(SystemExit):
        compile_check.main(["--experiment=nothing"])
    assert "'nothing' does not exist" in capsys.readouterr().err
