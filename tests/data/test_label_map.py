"""Label maps as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_rcnn.data.label_map import (
    format_label_map,
    make_label_map,
    parse_label_map,
    read_label_map,
)


def test_ids_start_at_one_and_keep_the_order():
    assert make_label_map(["deer", "bobcat", "deer"]) == {"deer": 1, "bobcat": 2}


def test_the_text_is_that_of_the_object_detection_api():
    text = format_label_map({"bobcat": 1, "Steller's jay": 2})
    assert text == (
        "item {\n  id: 1\n  name: 'bobcat'\n}\nitem {\n  id: 2\n  name: 'Steller\\'s jay'\n}\n"
    )


def test_label_maps_found_in_the_wild_are_read():
    text = """
    # A comment.
    item: { id: 3 name: "mule deer" display_name: 'Mule \\'deer\\'' }
    item {
      name: "caf\\303\\251",
      id: 1
      keypoints { id: 7 label: "nose" }
    }
    """
    assert parse_label_map(text) == {"mule deer": 3, "café": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no items"),
        ("item { id: 0 name: 'a' }", "ids start at 1"),
        ("item { id: 1 }", "needs a quoted name"),
        ("item { id: 1.5 name: 'a' }", "whole-number id"),
        ("item { id: one name: 'a' }", "whole-number id"),
        ("item { id: 1 name: 'a' }\nitem { id: 1 name: 'b' }", "line 2: .* occurs twice"),
        ("item { id: 1 name: 'a' }\nitem { id: 2 name: 'a' }", "line 2: .* occurs twice"),
        ("item { id: 1 name: 'a'", "text ends"),
        ("__import__('os')", "line 1"),
    ],
)
def test_a_bad_label_map_is_an_error_that_names_the_file(tmp_path, text, message):
    path = tmp_path / "map.pbtxt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_label_map(path)
    assert str(path) in str(error.value)


NAMES = st.text(st.characters(codec="utf-8"), min_size=1)


@given(st.lists(NAMES, min_size=1, unique=True))
def test_any_names_survive_writing_and_reading(names):
    label_map = make_label_map(names)
    assert parse_label_map(format_label_map(label_map)) == label_map


@given(st.text(alphabet="item {}:'\"\\\n12name"))
def test_nothing_but_value_errors_is_raised(text):
    try:
        parse_label_map(text)
    except ValueError:
        return
