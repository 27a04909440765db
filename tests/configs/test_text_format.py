"""Protocol buffer text, held against the library's own reader where it can read without types."""

import pytest
from google.protobuf import struct_pb2
from google.protobuf import text_format as reference
from hypothesis import given
from hypothesis import strategies as st

from context_rcnn.configs import text_format
from context_rcnn.configs.text_format import Message


def values(message, name):
    return [field.value for field in message.fields[name]]


def test_all_kinds_of_values():
    message = text_format.parse(
        """
        whole: 3  negative: -4  hexadecimal: 0x1F
        real: 1.99999994948e-05  short: .5f  trailing: 2.  infinite: -inf
        yes: true  no: false  name: SOFTMAX  # a comment
        text: "caf\\303\\251" ' au\\x20lait'
        """
    )
    assert {name: values(message, name)[0] for name in message.fields} == {
        "whole": 3,
        "negative": -4,
        "hexadecimal": 31,
        "real": 1.99999994948e-05,
        "short": 0.5,
        "trailing": 2.0,
        "infinite": float("-inf"),
        "yes": True,
        "no": False,
        "name": "SOFTMAX",
        "text": "café au lait",
    }


def test_repeated_fields_keep_their_order_whatever_way_they_are_written():
    message = text_format.parse("a: 1 b { c: 2 } a: [2, 3] b: < c: 4; > a: [] b: [{c: 5}, {c: 6}]")
    assert values(message, "a") == [1, 2, 3]
    assert [values(inner, "c") for inner in values(message, "b")] == [[2], [4], [5], [6]]


def test_fields_know_their_lines():
    message = text_format.parse("a: 1\n# b\nb {\n  c: 'x'\n}\n")
    (b,) = message.fields["b"]
    assert (b.line, b.value.fields["c"][0].line) == (3, 4)


def test_extensions_have_their_full_names():
    message = text_format.parse("a { [some.package.extension]: 1 }")
    assert list(values(message, "a")[0].fields) == ["[some.package.extension]"]


@pytest.mark.parametrize(
    "text, error",
    [
        ("a", "text ends where ':' or '{'"),
        ("a 1", "line 1: expected ':' or '{', found '1'"),
        ("a:", "line 1: a field has no value"),
        ("a: }", "line 1: a field has no value"),
        ("a: 1\n}", "line 2: expected the name of a field"),
        ("a { b: 1", "text ends where '}'"),
        ("a { b: 1 >", "line 1"),
        ("a: [1, 2", "text ends where ']'"),
        ("a: 'open", "cannot read"),
        ("a: 1x", "cannot read"),
        ("a {" * 5000, "deep"),
    ],
)
def test_what_is_not_text_of_a_message_is_refused(text, error):
    with pytest.raises(ValueError, match=error):
        text_format.parse(text)


@given(
    st.dictionaries(st.text(max_size=8), st.one_of(st.text(), st.floats().map(abs), st.booleans()))
)
def test_it_reads_what_protocol_buffers_write(wanted):
    written = struct_pb2.Struct()
    written.update(wanted)
    message = text_format.parse(reference.MessageToString(written))
    found = {}
    for entry in values(message, "fields") if wanted else ():
        (value,) = (field.value for field in entry.fields["value"])
        ((kind, (field,)),) = value.fields.items()
        assert isinstance(value, Message) and kind in ("string_value", "number_value", "bool_value")
        (key,) = values(entry, "key") if "key" in entry.fields else [""]  # "" is not written
        found[key] = field.value
    assert {name: repr(value) for name, value in found.items()} == {
        name: repr(value) for name, value in wanted.items()
    }


@given(st.text(alphabet="ab{}<>[]:,.'\"\\\n 12-e#"))
def test_nothing_but_value_errors_is_raised(text):
    try:
        text_format.parse(text)
    except ValueError:
        return
