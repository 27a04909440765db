"""File names from data stay inside of the image root."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_rcnn.data.failures import Reason
from context_rcnn.data.paths import FileError, normalise_file_name, resolve_inside


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cam/a.jpg", "cam/a.jpg"),
        ("cam\\100RECNX\\a.jpg", "cam/100RECNX/a.jpg"),
        ("./cam//a.jpg", "cam/a.jpg"),
        ("a..b.jpg", "a..b.jpg"),
    ],
)
def test_names_become_relative_with_forward_slashes(name, expected):
    assert normalise_file_name(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "cam/../../secret",
        "..\\..\\secret",
        "/etc/passwd",
        "\\\\server\\share",
        "C:\\Windows\\a.jpg",
        "a\x00.jpg",
        "\ud800.jpg",
        ".",
        "",
    ],
)
def test_names_that_leave_the_root_are_refused(name):
    with pytest.raises(FileError) as error:
        normalise_file_name(name)
    assert error.value.reason is Reason.OUTSIDE_ROOT


def test_links_may_lead_within_the_root_but_not_out(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "a.jpg").write_bytes(b"a")
    (root / "inner.jpg").symlink_to(root / "a.jpg")
    (root / "outer.jpg").symlink_to(tmp_path / "secret.jpg")
    assert resolve_inside(root, "inner.jpg") == (root / "a.jpg").resolve()
    with pytest.raises(FileError) as error:
        resolve_inside(root, "outer.jpg")
    assert error.value.reason is Reason.OUTSIDE_ROOT


@given(st.text(alphabet=st.sampled_from("./\\aC:\x00\ud800")))
def test_no_name_gets_out(name):
    try:
        normalised = normalise_file_name(name)
    except FileError:
        return
    assert not normalised.startswith("/")
    assert ".." not in normalised.split("/")
    assert "\\" not in normalised
