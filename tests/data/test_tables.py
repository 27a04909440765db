"""Tables as spreadsheets of several countries save them."""

import codecs

import pytest

from context_rcnn.data.tables import Table

ROWS = [{"folder": "süd, Bach", "camera": "B 1"}, {"folder": "b", "camera": ""}]
COMMAS = 'folder,camera\r\n"süd, Bach",B 1\r\nb,\r\n'


@pytest.mark.parametrize(
    "data",
    [
        COMMAS.encode(),
        codecs.BOM_UTF8 + COMMAS.encode(),
        COMMAS.encode("utf-16"),
        "folder;camera\nsüd, Bach; B 1 \n\nb;\n".encode(),
        "folder\tcamera\nsüd, Bach\tB 1\nb\t".encode(),
    ],
)
def test_separators_and_marks_of_spreadsheets_are_read(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    table = Table(tmp_path / "t.csv")
    assert table.columns == ["folder", "camera"]
    assert [row for _, row in table.rows()] == ROWS


def test_another_encoding_is_refused_with_line_and_advice(tmp_path):
    (tmp_path / "t.csv").write_bytes("folder;camera\na;b\nsüd;c\n".encode("cp1252"))
    with pytest.raises(ValueError, match=r"t.csv, line 3: byte 0xfc is no UTF-8: .*CSV UTF-8"):
        Table(tmp_path / "t.csv")


def test_a_row_of_another_length_is_refused_with_its_line(tmp_path):
    (tmp_path / "t.csv").write_text("folder,camera\na,b\nc,d,e\n")
    with pytest.raises(ValueError, match="line 3: not as many values as there are columns"):
        list(Table(tmp_path / "t.csv").rows())


def test_every_table_that_people_give_is_read_with_semicolons(tmp_path):
    from context_rcnn.data.cameras import CameraNamer
    from context_rcnn.results.classes import read_taxa
    from context_rcnn.results.clock import CameraClock
    from context_rcnn.results.deployments import read_deployments
    from context_rcnn.results.order import CameraSpan

    for name, text in (
        ("cameras", "folder;camera\nsüd;B\n"),
        ("taxa", "class;taxon\nfox;Vulpes vulpes\n"),
        ("deployments", "deploymentID;latitude;longitude\nsüd;47.5;11\n"),
    ):
        (tmp_path / name).write_bytes(codecs.BOM_UTF8 + text.encode())
    assert CameraNamer(csv_path=tmp_path / "cameras")("süd/1.jpg") == "B"
    assert read_taxa(tmp_path / "taxa") == {"fox": "Vulpes vulpes"}
    cameras = {"süd": CameraSpan(1, 1_600_000_000, 1_600_000_000)}
    found = read_deployments(
        tmp_path / "deployments", cameras, CameraClock("Z"), lambda name, where: None
    )
    assert [d.row["latitude"] for d in found.all] == ["47.5"]
