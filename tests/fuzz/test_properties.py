"""What comes from outside is one message, the same one for everybody, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.examples import properties
from tests.fuzz.properties import PROPERTIES
from tests.fuzz.seeds import PIECES, SEEDS

NAMES = list(PROPERTIES)


@st.composite
def altered(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with a few of its bytes replaced."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        gone = draw(st.sampled_from([0, 0, 1, 1, 2, 8]))
        new = draw(st.sampled_from(PIECES) | st.binary(max_size=2))
        data = data[:at] + new + data[at + gone :]
    return data


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_for_every_seed(name: str) -> None:
    for seed in SEEDS[name]:
        PROPERTIES[name](seed)


@pytest.mark.parametrize("name", NAMES)
@properties
@given(data=st.data())
def test_it_holds_for_what_is_nearly_a_seed(name: str, data: st.DataObject) -> None:
    PROPERTIES[name](data.draw(altered(list(SEEDS[name]))))


@pytest.mark.parametrize("name", NAMES)
@properties
@given(noise=st.binary(max_size=200))
def test_it_holds_for_noise(name: str, noise: bytes) -> None:
    PROPERTIES[name](noise)
    PROPERTIES[name](noise + b"\r\n\r\n")
