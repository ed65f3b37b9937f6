import pytest

from tests.mutation.mutants import mutants
from tests.mutation.typed import NotTyped, refused

SOURCE = "LEAST: int = 10\n\n\ndef is_big(size: int) -> bool:\n    return size > LEAST\n"


def test_what_no_longer_fits_its_types_is_refused_and_another_number_is_not() -> None:
    made = list(mutants("sizes", SOURCE))

    untyped = refused(made)

    changes = {each.change[1] for each in made if each.name in untyped}
    assert changes == {"LEAST: int = None"}
    assert len(made) > 1


def test_a_module_that_is_refused_as_it_is_says_nothing_of_its_mutants() -> None:
    broken = SOURCE.replace("int = 10", "int = 'ten'")

    with pytest.raises(NotTyped, match="sizes_0"):
        refused(mutants("sizes", broken))


def test_nothing_is_refused_of_nothing() -> None:
    assert refused([]) == frozenset()
