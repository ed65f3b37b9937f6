"""JSON of tokens: one reading, or none."""

import json

import pytest

from sidecar.core.strict_json import MOST_NESTED, read_object
from sidecar.errors import TokenInvalid


def refusal(text: bytes) -> TokenInvalid:
    with pytest.raises(TokenInvalid) as raised:
        read_object(text, named="payload")
    return raised.value


def nested(levels: int, *, beside: str = "1") -> bytes:
    """An object that many levels deep, the odd ones of which are objects and the others lists."""
    text = "1"
    for level in range(levels, 0, -1):
        text = f'{{"a": {beside}, "b": {text}}}' if level % 2 else f"[{beside}, {text}]"
    return text.encode()


def test_an_object_is_read_with_all_that_is_in_it() -> None:
    found: dict[str, object] = {"sub": "ädä", "n": [1, 2.5, None, True, {"a": []}]}

    assert read_object(json.dumps(found).encode(), named="payload") == found
    assert read_object('{"sub": "ädä"}'.encode(), named="payload") == {"sub": "ädä"}
    assert read_object(b"{}", named="payload") == {}


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b'"a"', b"1", b"null", b'{"a": 1} x', b'{"a": "\xff"}',
     b'{"a": ' + b"1" * 5000 + b"}"],
)  # fmt: skip
def test_what_is_no_object_fails_the_check_that_it_is_read_for(text: bytes) -> None:
    assert refusal(text).check == "payload"


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_have_is_refused_by_its_name(constant: str) -> None:
    refused = refusal(f'{{"a": {constant}}}'.encode())

    assert refused.check == "payload"
    assert str(refused.__cause__) == constant


@pytest.mark.parametrize(
    "text", [b'{"a": 1, "a": 1}', b'{"b": [{"a": 1, "c": 2, "a": 3}]}', b'{"a": 1, "\\u0061": 2}']
)
def test_a_name_that_comes_twice_is_refused_wherever_it_does(text: bytes) -> None:
    assert refusal(text).check == "duplicate"


def test_an_object_may_be_sixteen_levels_deep_and_no_deeper() -> None:
    assert MOST_NESTED == 16
    for beside in ("1", '"text"', "{}", "[[]]"):
        assert read_object(nested(14, beside=beside), named="payload")
    assert read_object(nested(16), named="payload")
    assert refusal(nested(17)).check == "nested"
    assert refusal(b'{"a": ' * 16 + b"{}" + b"}" * 16).check == "nested"
    assert refusal(b'{"a": ' + b"[" * 100_000).check == "nested"
