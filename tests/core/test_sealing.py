import base64
import hashlib
import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.sealing import (
    SEAL_RANDOM_BYTES,
    Key,
    KeyRing,
    Label,
    derived_key,
    key_check,
    parse_keys,
    sealed_by,
)
from sidecar.errors import KeyUnknown, RecordBroken, StoreUnavailable
from tests.core.examples import PREFIX, SEAL_RANDOM, key, properties, ring

LABEL = Label(PREFIX, "grant", "u/1", 7)
SECRET = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

names = st.text(st.characters(codec="utf-8"), max_size=12)
labels = st.builds(Label, names, names, names, st.integers(0, 2**40))
randoms = st.binary(min_size=SEAL_RANDOM_BYTES, max_size=SEAL_RANDOM_BYTES)


@properties
@given(plain=st.binary(max_size=200), label=labels, random=randoms)
def test_what_was_sealed_opens_to_the_same(plain: bytes, label: Label, random: bytes) -> None:
    sealed = ring().seal(plain, label, random=random)

    assert ring().open(sealed, label) == plain


def test_what_an_earlier_release_has_sealed_signed_and_derived_holds() -> None:
    """Known answers: with others, whatever is stored would be lost by an upgrade."""
    sealed = bytes.fromhex(
        "053230323661000102030405060708090a0b0c0d0e0f101112131415161718191a1b"
        "a3bebd09a217bce8497d619ee4562d4f954168e56440"
    )
    derived = derived_key(b"secret")

    assert ring().seal(b"secret", LABEL, random=SEAL_RANDOM) == sealed
    assert ring().open(sealed, LABEL) == b"secret"
    assert ring().sign("alice.secret") == "_Ra_26V4P3pfgo3IxDbYqqM1OQ5lPLBw2r23UKpIHWs"
    assert derived.id == "derived95a81806846cdd2a"
    assert derived.secret == bytes.fromhex(
        "d3b84486f159ef1f03de2ae5cdb4806de7943e43b6bc9d47dc3e12044dc6ae83"
    )
    assert key_check(key("2026a")) == "9f4d4c2a2f68bc31"


def test_a_record_without_a_version_has_the_version_0() -> None:
    assert Label(PREFIX, "grant", "u/1").encode() == Label(PREFIX, "grant", "u/1", 0).encode()
    assert Label(PREFIX, "grant", "u/1").version == 0


@pytest.mark.parametrize("keys", [[key("a")], [key("a"), key("c", 3), key("aa", 5)]])
def test_a_record_with_any_one_bit_flipped_is_refused(keys: list[Key]) -> None:
    sealed = ring(*keys).seal(b"secret", LABEL, random=SEAL_RANDOM)

    for bit in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((RecordBroken, KeyUnknown)):
            ring(*keys).open(bytes(flipped), LABEL)


def test_a_record_cut_at_any_place_is_refused() -> None:
    sealed = ring().seal(b"secret", LABEL, random=SEAL_RANDOM)

    for length in range(len(sealed)):
        with pytest.raises((RecordBroken, KeyUnknown)):
            ring().open(sealed[:length], LABEL)


@pytest.mark.parametrize("name", ["2026a", "unknown"])
def test_a_record_that_ends_before_what_it_holds_is_told_to_be_too_short(name: str) -> None:
    empty = ring(key(name)).seal(b"", LABEL, random=SEAL_RANDOM)[:-16]

    for length in range(len(empty) + 1):
        with pytest.raises(RecordBroken) as raised:
            ring().open(empty[:length], LABEL)
        assert str(raised.value) == "a grant record is too short to be one"


def test_the_key_that_sealed_a_record_is_named_in_front_of_it() -> None:
    assert sealed_by(ring().seal(b"x", LABEL, random=SEAL_RANDOM)) == "2026a"
    assert sealed_by(b"") == sealed_by(b"\x00abc") == ""
    assert sealed_by(b"\x02a\xffc") == "a\ufffd"


def test_a_ring_names_the_key_that_seals_and_has_all_in_their_order() -> None:
    keys = (key("new", 2), key("old", 1))

    assert ring(*keys).sealing_id == "new"
    assert ring(*keys).keys == keys


@pytest.mark.parametrize("stray", [b"", b"\x00", b"\xff", b"\x05", bytes(28), bytes(29), b"x" * 99])
def test_bytes_that_were_never_sealed_are_no_crash(stray: bytes) -> None:
    with pytest.raises((RecordBroken, KeyUnknown)):
        ring().open(stray, LABEL)


@properties
@given(sealed_as=labels, opened_as=labels)
def test_a_record_opens_under_its_own_label_only(sealed_as: Label, opened_as: Label) -> None:
    sealed = ring().seal(b"secret", sealed_as, random=SEAL_RANDOM)

    if sealed_as == opened_as:
        assert ring().open(sealed, opened_as) == b"secret"
    else:
        with pytest.raises(RecordBroken):
            ring().open(sealed, opened_as)


@pytest.mark.parametrize(
    "moved",
    [
        Label("other:", "grant", "u/1", 7),
        Label(PREFIX, "session", "u/1", 7),
        Label(PREFIX, "grant", "u/2", 7),
        Label(PREFIX, "grant", "u/1", 8),
        Label(PREFIX, "grant", "u/1", 6),
        Label(PREFIX + "g", "rant", "u/1", 7),  # the same text, cut elsewhere
        Label(PREFIX, "grantu", "/1", 7),
        Label(PREFIX, "grant", "u/", 17),
    ],
    ids=["prefix", "kind", "name", "newer", "older", "cut-1", "cut-2", "cut-3"],
)
def test_a_record_that_was_moved_is_refused(moved: Label) -> None:
    sealed = ring().seal(b"secret", LABEL, random=SEAL_RANDOM)

    with pytest.raises(RecordBroken):
        ring().open(sealed, moved)


def test_each_kind_has_a_key_of_its_own() -> None:
    """Not only the label: the first kind's key must not even decrypt the second kind."""
    first = ring().seal(b"secret", Label(PREFIX, "grant", "x"), random=SEAL_RANDOM)
    second = ring().seal(b"secret", Label(PREFIX, "session", "x"), random=SEAL_RANDOM)

    tag = 16
    assert first[:-tag] != second[:-tag]


def test_each_salt_has_a_key_of_its_own() -> None:
    salt, nonce = SEAL_RANDOM[:16], SEAL_RANDOM[16:]
    first = ring().seal(b"secret", LABEL, random=salt + nonce)
    second = ring().seal(b"secret", LABEL, random=salt[::-1] + nonce)

    tag = 16
    ciphertext = slice(-tag - len(b"secret"), -tag)
    assert first[ciphertext] != second[ciphertext]


def test_a_sealed_record_shows_nothing_of_what_it_holds() -> None:
    sealed = ring().seal(b"refresh-token", LABEL, random=SEAL_RANDOM)

    assert b"refresh-token" not in sealed
    assert key("2026a").secret not in sealed


@pytest.mark.parametrize("length", [0, SEAL_RANDOM_BYTES - 1, SEAL_RANDOM_BYTES + 1])
def test_nothing_is_sealed_with_too_little_random(length: int) -> None:
    with pytest.raises(ValueError, match=r"^sealing needs 28 random bytes$"):
        ring().seal(b"secret", LABEL, random=bytes(length))


def test_the_first_key_seals_and_all_open() -> None:
    old, new = key("old", 1), key("new", 2)
    before = ring(old).seal(b"before", LABEL, random=SEAL_RANDOM)

    rotated = ring(new, old)
    after = rotated.seal(b"after", LABEL, random=SEAL_RANDOM)

    assert rotated.open(before, LABEL) == b"before"
    assert ring(new).open(after, LABEL) == b"after"


def test_a_key_that_this_replica_lacks_is_an_error_of_the_store_and_no_broken_record() -> None:
    sealed = ring(key("new", 2)).seal(b"secret", LABEL, random=SEAL_RANDOM)

    with pytest.raises(KeyUnknown) as raised:
        ring(key("old", 1)).open(sealed, LABEL)

    assert str(raised.value) == (
        "a grant record was sealed by a key that this replica does not have. "
        "Give every replica the same SIDECAR_SESSION_KEYS, old keys included"
    )
    assert isinstance(raised.value, StoreUnavailable)


def test_another_key_under_the_same_id_is_a_broken_record() -> None:
    sealed = ring(key("2026a", 1)).seal(b"secret", LABEL, random=SEAL_RANDOM)

    with pytest.raises(RecordBroken, match=r"^a grant record does not open with its key$"):
        ring(key("2026a", 2)).open(sealed, LABEL)


def test_a_record_does_not_change_hands_between_keys_that_are_the_same_but_for_their_ids() -> None:
    both = ring(Key("a", bytes(32)), Key("b", bytes(32)))
    sealed = both.seal(b"secret", LABEL, random=SEAL_RANDOM)

    with pytest.raises(RecordBroken):
        both.open(sealed.replace(b"a", b"b", 1), LABEL)


def test_a_ring_needs_a_key() -> None:
    with pytest.raises(ValueError, match=r"^a key ring needs a key$"):
        KeyRing([])


def test_a_signature_holds_for_its_own_text_only() -> None:
    mac = ring().sign("alice.secret")

    assert ring().signed("alice.secret", mac)
    assert not ring().signed("alice.other", mac)
    assert not ring().signed("alice.secret", mac[:-1])
    assert not ring().signed("alice.secret", "")
    assert not ring().signed("alice.secret", "é")


def test_a_signature_of_an_old_key_holds_as_long_as_the_ring_has_the_key() -> None:
    old, new = key("old", 1), key("new", 2)
    mac = ring(old).sign("alice.secret")

    assert ring(new, old).signed("alice.secret", mac)
    assert ring(new, old).sign("alice.secret") == ring(new).sign("alice.secret")
    assert not ring(new).signed("alice.secret", mac)


def test_a_ring_does_not_sign_with_the_key_that_seals() -> None:
    """A MAC is no window to the sealing key, nor the other way round."""
    direct = hmac.new(key("2026a").secret, b"alice", hashlib.sha256).digest()

    assert ring().sign("alice") != base64.urlsafe_b64encode(direct).rstrip(b"=").decode()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", ring().sign("alice"))


def test_keys_are_separated_by_commas_or_lines() -> None:
    keys = parse_keys(f"  new:{SECRET},old:{SECRET}\n\n older:{SECRET} ,\n")

    assert [found.id for found in keys] == ["new", "old", "older"]
    assert keys[0].secret == bytes([1]) * 32


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no key"),
        (" ,\n, ", "has no key"),
        (
            "hunter2",
            "has an entry that is not 'id:base64 of 32 bytes' (id: 1 to 32 letters and digits). ",
        ),
        (SECRET, "not 'id:base64 of 32 bytes'"),
        (f":{SECRET}", "not 'id:base64 of 32 bytes'"),
        (f"a b:{SECRET}", "not 'id:base64 of 32 bytes'"),
        (f"é:{SECRET}", "not 'id:base64 of 32 bytes'"),
        (f"{'a' * 33}:{SECRET}", "not 'id:base64 of 32 bytes'"),
        ("2026a:AAAA", "key '2026a' has 3 bytes; 32 are needed"),
        (f"2026a:{SECRET[:-4]}AAAA", "key '2026a' has 33 bytes; 32 are needed"),
        ("2026a:not base64!", "key '2026a' is not base64"),
        (f"2026a:{SECRET[:8]}!{SECRET[8:]}", "key '2026a' is not base64"),
        ("2026a:ключ", "key '2026a' is not base64"),
        (f"2026a:{SECRET}:x", "key '2026a' is not base64"),
        (f"2026a:b:{SECRET}", "key '2026a' is not base64"),
        ("2026a:", "key '2026a' has 0 bytes"),
        (f"2026a:{SECRET},2026a:{SECRET}", "key id '2026a' is given twice"),
    ],
)
def test_a_key_that_is_none_is_named_with_its_mend(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        parse_keys(text)

    assert str(raised.value).endswith(
        (". Make one with: sidecar keys new", ". Give each key an id of its own")
    )
    assert SECRET not in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_an_id_of_32_letters_is_as_long_as_it_gets() -> None:
    assert parse_keys(f"{'a' * 32}:{SECRET}")[0].id == "a" * 32


def test_a_key_never_prints_its_secret() -> None:
    shown = repr(parse_keys(f"2026a:{SECRET}"))

    assert "2026a" in shown
    assert SECRET not in shown
    assert "\\x01" not in shown


def test_what_an_older_derived_key_sealed_is_known_to_be_gone() -> None:
    old, new, own = derived_key(b"old"), derived_key(b"new"), Key("own", b"k" * 32)
    label = Label("p:", "grant", "u/1", 1)
    by_old, by_own = (
        KeyRing([key]).seal(b"x", label, random=b"r" * SEAL_RANDOM_BYTES) for key in (old, own)
    )

    assert KeyRing([new]).has_replaced(by_old)
    assert not KeyRing([new]).has_replaced(by_own)  # an operator's key may come back
    assert not KeyRing([own]).has_replaced(by_old)
    assert not KeyRing([new, old]).has_replaced(by_old)
    assert not KeyRing([new]).has_replaced(b"")
