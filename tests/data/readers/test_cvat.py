"""CVAT's export for images, small, as version 2 writes it; and what may be wrong with one."""

import pytest

from context_rcnn.data.failures import Reason
from context_rcnn.data.readers.cvat import read_cvat
from context_rcnn.data.records import LabelState

HEAD = """\
<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <job>
      <id>7</id>
      <size>3</size>
      <mode>annotation</mode>
      <labels>
        <label><name>red deer</name><color>#733380</color><type>any</type><attributes>
          <attribute><name>sex</name><mutable>False</mutable><input_type>select</input_type>
          <default_value>unknown</default_value><values>unknown
male</values></attribute></attributes></label>
        <label><name>badger</name><type>any</type><attributes></attributes></label>
        <label><name>empty</name><type>tag</type><attributes></attributes></label>
      </labels>
    </job>
    <dumped>2024-03-10 08:00:00.000000+00:00</dumped>
  </meta>
"""
TURNED = '<ellipse label="badger" cx="5" cy="4" rx="1" ry="2" rotation="9"/>'
BOX = (
    '<box label="red deer" source="manual" occluded="0" xtl="20.00" ytl="20.50" xbr="80.00" '
    'ybr="60.50" z_order="0"><attribute name="sex">male</attribute></box>'
)


@pytest.fixture
def read(tmp_path):
    def run(*images, head=HEAD, encoding="utf-8"):
        path = tmp_path / "annotations.xml"
        text = head + "".join(images) + "</annotations>"
        path.write_bytes(text.encode(encoding))
        return read_cvat(path)

    return run


def image(content="", name="site_1/100RECNX/IMG_0001.JPG", number=0):
    size = 'width="200" height="100"'
    return f'<image id="{number}" name="{name}" {size}>{content}</image>\n'


def test_boxes_are_read_with_size_and_camera(read):
    archive = read(image(BOX))
    (record,) = archive.records
    assert record.image_id == record.file_name == "site_1/100RECNX/IMG_0001.JPG"
    assert (record.camera, record.seconds, record.width, record.height) == (
        "site_1",
        None,
        200,
        100,
    )
    (box,) = record.boxes
    assert (box.xmin, box.ymin, box.xmax, box.ymax) == (20, 20.5, 80, 60.5)
    assert not box.relative and record.label_state is LabelState.BOXES
    assert archive.class_names == ("red deer",), "only what was drawn"


def test_an_image_without_shapes_is_empty_only_if_a_tag_says_it(read):
    tag = '<tag label="{}" source="manual"></tag>'
    archive = read(
        image(name="a.jpg"),
        image(tag.format("empty"), "b.jpg"),
        image(tag.format("badger"), "c.jpg"),
        image(tag.format("badger") + BOX, "d.jpg"),
    )
    assert [record.label_state for record in archive.records] == [
        LabelState.UNLABELLED,
        LabelState.EMPTY,
        LabelState.IMAGE_LEVEL,
        LabelState.IMAGE_LEVEL,
    ]
    assert archive.class_names == ("red deer", "badger"), "in the order of the export"


def test_other_shapes_become_the_boxes_around_them(read):
    """A box turns about its centre: of 60x40 at (50, 40.5), a quarter, it is 40x60 there."""
    shapes = [
        '<polygon label="badger" points="10.0,20.0;30.5,15.0;20.0,40.0"></polygon>',
        '<ellipse label="badger" cx="50.0" cy="40.0" rx="10.0" ry="20.0"></ellipse>',
        '<mask label="badger" rle="1, 2" left="5" top="6" width="10" height="20"></mask>',
        BOX.replace("z_order", 'rotation="90.00" z_order'),
    ]
    (record,) = read(image("".join(shapes))).records
    assert [(b.xmin, b.ymin, b.xmax, b.ymax) for b in record.boxes] == [
        (10, 15, 30.5, 40),
        (40, 20, 60, 60),
        (5, 6, 15, 26),
        pytest.approx((30, 10.5, 70, 70.5)),
    ]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ('<points label="badger" points="1,2"/>', Reason.BAD_ANNOTATION),
        ('<skeleton label="badger"/>', Reason.BAD_ANNOTATION),
        (
            '<ellipse label="badger" cx="5" cy="4" rx="1" ry="2" rotation="20"/>',
            Reason.BAD_ANNOTATION,
        ),
        ('<box label="badger" xtl="1" ytl="2" xbr="1" ybr="4"/>', Reason.BAD_BOX),
        ('<box label="badger" xtl="1" ytl="2" xbr="nan" ybr="4"/>', Reason.BAD_BOX),
        ('<box label="badger" xtl="1" ytl="2"/>', Reason.BAD_BOX),
        ('<polygon label="badger" points="1,2;3"/>', Reason.BAD_BOX),
        ('<box xtl="1" ytl="2" xbr="3" ybr="4"/>', Reason.BAD_ANNOTATION),
    ],
)
def test_what_is_no_box_is_named_and_keeps_the_label(read, shape, reason):
    archive = read(image(BOX + shape))
    (failure,) = archive.failures
    assert (failure.reason, failure.lost, failure.detail[:9]) == (reason, "annotation", "image[0]:")
    if 'label="badger"' in shape:
        assert archive.records[0].label_state is LabelState.IMAGE_LEVEL


def test_entries_that_are_no_images_are_counted_and_named(read):
    archive = read(image(), image(), image(name="../x.jpg"), "<image id='4'/>")
    reasons = [failure.reason for failure in archive.failures]
    assert reasons == [Reason.DUPLICATE_IMAGE, Reason.OUTSIDE_ROOT, Reason.BAD_RECORD]
    assert archive.images_listed == 4


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_however_they_are_written(read, encoding):
    bomb = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]>\n<annotations>\n'
    with pytest.raises(ValueError, match=r"annotations.xml: (declares a document type|ill-formed)"):
        read(image("&y;"), head=bomb, encoding=encoding)


def test_external_files_are_not_read(read, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    head = '<!DOCTYPE a [<!ENTITY x SYSTEM "secret.txt">]>\n<annotations>\n'
    with pytest.raises(ValueError, match="declares a document type or entities; refused"):
        read(image("&x;"), head=head)


@pytest.mark.parametrize(
    "head", ["<annotations><track id='0'></track>", "<html><annotations></annotations>"]
)
def test_another_format_is_refused_with_advice(tmp_path, head):
    path = tmp_path / "a.xml"
    path.write_text(head + ("</html>" if "html" in head else "</annotations>"))
    with pytest.raises(ValueError, match="a.xml: not CVAT's .* choose the format 'CVAT for images"):
        read_cvat(path)
