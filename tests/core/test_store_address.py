import pytest

from sidecar.core.store_address import slot_of


# What the specification of a Cluster says, and `CLUSTER KEYSLOT`.
@pytest.mark.parametrize(
    ("key", "slot"), [(b"123456789", 0x31C3), (b"foo", 12182), (b"bar", 5061), (b"", 0)]
)
def test_a_key_is_in_the_slot_that_every_server_of_a_cluster_reckons(key: bytes, slot: int) -> None:
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        (b"{user1000}.following", b"user1000"),
        (b"foo{bar}{zap}", b"bar"),
        (b"foo{{bar}}zap", b"{bar"),
    ],
)
def test_of_a_key_with_a_hash_tag_only_that_says_the_slot(key: bytes, tag: bytes) -> None:
    assert slot_of(key) == slot_of(tag)


def test_an_empty_hash_tag_is_none() -> None:
    assert len({slot_of(key) for key in (b"foo{}{bar}", b"foo{}{zap}", b"bar", b"")}) == 4
