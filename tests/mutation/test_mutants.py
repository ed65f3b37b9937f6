from tests.mutation.mutants import Mutant, mutants

SOURCE = '''\
"""A module."""

LIMIT: int = 10


@dataclass(frozen=True, slots=True)
class Word:
    """A word."""

    text: str = ""

    @property
    def is_short(self) -> bool:
        """Whether it is."""
        return (
            len(self.text)
            < LIMIT
        )


def first(words: Sequence[Word], default: str = "none") -> str:
    """The first."""
    if not (words or default):
        return ""

    def read(word: Word) -> str:
        return word.text.strip() + "!"

    match words:
        case [word, *_]:
            return read(word)
        case _:
            return default
'''


def made() -> list[Mutant]:
    return list(mutants("words", SOURCE))


def changes(function: str) -> set[tuple[str, str]]:
    return {mutant.change for mutant in made() if mutant.function == function}


def test_what_stands_outside_of_functions_is_changed() -> None:
    assert changes("") == {
        ("LIMIT: int = 10", "LIMIT: int = None"),
        ("LIMIT: int = 10", "LIMIT: int = 11"),
        ('text: str = ""', "text: str = None"),
        ('text: str = ""', 'text: str = "XXXX"'),
        *(
            (
                'def first(words: Sequence[Word], default: str = "none") -> str:',
                f'def first(words: Sequence[Word], default: str = "{changed}") -> str:',
            )
            for changed in ("XXnoneXX", "NONE")
        ),
    }


def test_a_property_of_a_decorated_class_is_changed() -> None:
    assert changes("Word.is_short") == {("len(self.text) < LIMIT", "len(self.text) <= LIMIT")}


def test_a_nested_function_is_a_part_of_the_outermost() -> None:
    assert ('return word.text.strip() + "!"', 'return word.text.strip() - "!"') in changes("first")
    assert {mutant.function for mutant in made()} == {"", "Word.is_short", "first"}


def test_parentheses_stay_where_they_change_what_is_meant() -> None:
    assert ("if not (words or default):", "if (words or default):") in changes("first")
    assert ("if not (words or default):", "if not (words and default):") in changes("first")


def test_a_case_is_left_out_and_the_rest_keeps_its_margin() -> None:
    without_a_case = [each for each in made() if each.change[1] == ""]

    assert [each.change[0] for each in without_a_case] == [
        "case [word, *_]: return read(word)",
        "case _: return default",
    ]


def test_a_sentence_that_is_raised_is_lost_but_not_respelled() -> None:
    found = mutants("words", 'def fail() -> None:\n    raise ValueError("is none", "code")\n')

    assert {each.change[1] for each in found} == {
        'raise ValueError(None, "code")',
        'raise ValueError("is none", None)',
        'raise ValueError("code")',
        'raise ValueError("is none", )',
        'raise ValueError("is none", "XXcodeXX")',
        'raise ValueError("is none", "CODE")',
    }


def test_an_encoding_in_capitals_is_the_same() -> None:
    found = mutants("words", 'def read(text: bytes) -> str:\n    return text.decode("latin-1")\n')

    assert {each.change[1] for each in found} == {
        "return text.decode(None)",
        'return text.decode("XXlatin-1XX")',
    }


def test_each_mutant_is_python_and_another_text() -> None:
    texts = [mutant.text for mutant in made()]

    for text in texts:
        compile(text, "words.py", "exec")
    assert len({SOURCE, *texts}) == len(texts) + 1


def test_the_lines_of_a_function_are_those_with_its_decorators() -> None:
    [is_short] = {each.lines for each in made() if each.function == "Word.is_short"}

    assert SOURCE.splitlines()[is_short.start - 1].strip() == "@property"
    assert SOURCE.splitlines()[is_short.stop - 2].strip() == ")"
