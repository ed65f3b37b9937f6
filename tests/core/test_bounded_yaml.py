import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.bounded_yaml import YamlBroken, read_yaml, read_yaml_nodes

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(9)
)
MERGES = "a: &a {k: v}\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{', '.join([f'*{chr(97 + n)}'] * 10)}]}}\n"
    for n in range(9)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing\n", None),
        ("a: 1\nb: [x, 'y']", {"a": 1, "b": ["x", "y"]}),
        ("on: yes", {True: True}),
        ("day: 2026-01-01", {"day": "2026-01-01"}),
        ("a: &a [x]\nb: *a", {"a": ["x"], "b": ["x"]}),
        ("a: &a {k: v}\nb: {<<: *a, l: w}", {"a": {"k": "v"}, "b": {"k": "v", "l": "w"}}),
    ],
)
def test_plain_values_are_read(text: str, value: object) -> None:
    assert read_yaml(text) == value


@pytest.mark.parametrize("text", [BOMB, MERGES], ids=["aliases", "merges"])
def test_a_few_aliases_cannot_stand_for_gigabytes(text: str) -> None:
    assert len(text) < 1000

    with pytest.raises(YamlBroken, match="aliases counted"):
        read_yaml(text)


def test_a_value_that_holds_itself_is_refused() -> None:
    with pytest.raises(YamlBroken, match="nested"):
        read_yaml("a: &a [*a]")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100 + "]" * 100, "nested deeper"),
        ("[" * 100_000, "is no YAML|nested"),
        ("- x\n" * 10_000, "has more than 10000 values, aliases counted"),
        ("[" * 66 + "]" * 66, "is nested deeper than 64 levels"),
        ("x" * (256 * 1024 + 1), "is longer than 256 KiB"),
        ("a: b: c", r"\(line 1\)"),
        ("ok: 1\nclientSecret: hunter2: hunter2", r"\(line 2\)"),
        ("a: 1\n---\nb: 2", "is no YAML"),
        ("!!python/object/apply:os.system [true]", "is no YAML"),
        ("? [a]\n: b", "is no YAML"),
        ("\x00", "is no YAML"),
        ("a: !!int x", "is no YAML"),
    ],
)
def test_what_is_too_much_or_no_yaml_is_refused_without_showing_it(text: str, why: str) -> None:
    with pytest.raises(YamlBroken, match=why) as raised:
        read_yaml(text)

    assert "hunter2" not in str(raised.value)
    assert len(str(raised.value)) < 100


@given(st.text() | st.text(alphabet="&*a:-[]{}<>!?|\"'\n #1.,%@`") | st.just("0x_"))
def test_no_text_gives_another_error(text: str) -> None:
    try:
        read_yaml(text)
    except YamlBroken:
        return


def test_as_much_as_is_taken_is_read() -> None:
    assert len(read_yaml("- x\n" * 9_999)) == 9_999
    assert read_yaml("x" * (256 * 1024)) == "x" * (256 * 1024)
    assert read_yaml("[" * 65 + "]" * 65) != []


def test_a_documents_nodes_know_their_places() -> None:
    node = read_yaml_nodes("a: 1\nb: [x]\n")

    assert isinstance(node, yaml.MappingNode)
    assert [(key.value, key.start_mark.line) for key, _ in node.value] == [("a", 0), ("b", 1)]
    assert read_yaml_nodes("") is None


@pytest.mark.parametrize(
    ("text", "line"), [("ok: 1\na: b: c", 1), ("a: 1\n---\nb: 2", 1), ("a: 1\n? [a]\n: b", 1)]
)
def test_who_is_told_that_it_is_broken_is_told_where(text: str, line: int) -> None:
    with pytest.raises(YamlBroken) as raised:
        read_yaml(text)

    assert raised.value.mark is not None
    assert raised.value.mark.line == line
    assert str(raised.value) == f"is no YAML (line {line + 1})"


def test_where_there_is_no_place_none_is_said() -> None:
    with pytest.raises(YamlBroken, match=r"^is no YAML$") as raised:
        read_yaml("a: !!int x")

    assert raised.value.mark is None
