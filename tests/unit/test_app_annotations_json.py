import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.annotations.json_text import MAX_VALUES, parse
from app.annotations.reading import read_geometry
from app.errors import BodyTooLarge, InvalidJson


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (b"", "The annotations are not valid JSON: Expecting value at line 1, column 1."),
        (b'{"a": 1,}', "The annotations are not valid JSON: Illegal trailing comma before end of object"),
        (b'{"a": 1}\n{"b": 2}', "The annotations are not valid JSON: Extra data at line 2, column 1."),
        (
            b'{"NaN": "NaN",\n "b": NaN}',
            "The annotations are not valid JSON: NaN is no JSON number, at line 2, column 7.",
        ),
        (
            b"[1, -Infinity]",
            "The annotations are not valid JSON: -Infinity is no JSON number, at line 1, column 5.",
        ),
        (b'{"a": "\xff"}', "The annotations are not valid UTF-8: byte 7 is not part of a character."),
        (b"\xef\xbb\xbf{}", "The annotations start with a byte-order mark at byte 0; send plain UTF-8."),
        ('{"a": 1}'.encode("utf-16-le"), "The annotations are not valid JSON: "),
        (b"[" * 100_000, "The annotations are nested deeper than 500 levels at line 1, column 501."),
        (
            b"[{}, " + b'{"a":' * 5000,
            "The annotations are nested deeper than 500 levels at line 1, column 2501.",
        ),
    ],
)
def test_what_is_not_strict_json_is_refused_with_its_place(document, sentence):
    with pytest.raises(InvalidJson) as refusal:
        parse(document)
    if "trailing comma" in sentence:  # worded differently by older Pythons
        assert "not valid JSON: " in refusal.value.detail
        assert "line 1, column" in refusal.value.detail
    else:
        assert refusal.value.detail.startswith(sentence)


def test_an_integer_of_5000_digits_is_no_crash_and_no_coordinate():
    document = b'{"bbox": [' + b"9" * 5000 + b", 1, 2, -" + b"9" * 5000 + b"]}"
    parsed = parse(document)
    assert parsed["bbox"][0] == float("inf")
    assert parsed["bbox"][3] == float("-inf")
    geometry = read_geometry(parsed, [("a.png", 10, 10)])
    assert geometry.images[0].problems == ("Annotation 0 has a coordinate that is not a finite number.",)


def test_a_long_hostile_string_is_refused_in_linear_time():
    for document in (
        b'[NaN, "' + b'\\"' * 500_000,
        b'"' + b"\\" * 999_999,
        b"[" * 2000 + b'"' + b'\\"' * 500_000,
    ):
        started = time.perf_counter()
        with pytest.raises(InvalidJson):
            parse(document)
        assert time.perf_counter() - started < 2


def test_five_hundred_levels_are_read():
    assert parse(b"[" * 500 + b"]" * 500) is not None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.binary(max_size=60)
    | st.text(alphabet='[]{}",:0123456789.eE+-\\ntrufalsNI ', max_size=60).map(str.encode)
)
def test_any_bytes_are_read_or_refused_in_one_sentence(document):
    try:
        parsed = parse(document)
    except InvalidJson as error:
        refusal = error.detail
    else:
        read_geometry(parsed, [("a.png", 5, 5), ("b.png", 7, 7)])
        return
    assert refusal.startswith("The annotations ")
    assert "byte" in refusal or "line" in refusal


def test_a_document_of_too_many_values_is_refused_before_it_is_parsed():
    with pytest.raises(BodyTooLarge, match="hold about 2000001 values, but the limit is 2000000"):
        parse(b"[" + b"[" * MAX_VALUES)
    assert len(parse(b"[" + b"0," * (MAX_VALUES - 1) + b"0]")) == MAX_VALUES
