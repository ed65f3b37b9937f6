"""Who asks, behind proxies that are trusted and others that are not."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.client_address import client_address

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/16"))
INGRESS = "10.1.2.3"


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        (INGRESS, ["192.0.2.7"], "192.0.2.7"),
        (INGRESS, ["203.0.113.9, 192.0.2.7"], "192.0.2.7"),
        (INGRESS, ["203.0.113.9", "192.0.2.7"], "192.0.2.7"),
        (INGRESS, ["192.0.2.7, 10.9.9.9"], "192.0.2.7"),
        (INGRESS, ["192.0.2.7,10.9.9.9 , fd00::1"], "192.0.2.7"),
        ("fd00::1", ["192.0.2.7"], "192.0.2.7"),
        ("::ffff:10.1.2.3", ["::ffff:192.0.2.7"], "192.0.2.7"),
        (INGRESS, ["192.0.2.7:51234"], "192.0.2.7"),
        (INGRESS, ["[2001:db8:1:2:3::4]:51234"], "2001:db8:1:2::/64"),
        (INGRESS, ["2001:db8:1:2:ffff::4"], "2001:db8:1:2::/64"),
        (INGRESS, ["[2001:DB8:A:F:ffff::4]"], "2001:db8:a:f::/64"),
        (INGRESS, ["192.0.2.7" + ", 10.9.9.9" * 49], "192.0.2.7"),
    ],
)
def test_it_is_the_nearest_that_is_not_trusted(
    peer: str, forwarded_for: list[str], address: str
) -> None:
    assert client_address(peer, forwarded_for, TRUSTED) == address


@pytest.mark.parametrize(
    ("peer", "forwarded_for"),
    [
        ("192.0.2.1", ["203.0.113.9"]),  # who is not trusted may write what he likes
        ("", ["203.0.113.9"]),
        (INGRESS, []),
        (INGRESS, [""]),
        (INGRESS, ["192.0.2.7" + ", 10.9.9.9" * 50]),
        (INGRESS, ["10.9.9.9"]),
        (INGRESS, ["203.0.113.9, unknown"]),
        (INGRESS, ["203.0.113.9, "]),
        (INGRESS, ["203.0.113.9, 192.0.2.7.example"]),
    ],
)
def test_where_it_cannot_be_told_there_is_none(peer: str, forwarded_for: list[str]) -> None:
    assert client_address(peer, forwarded_for, TRUSTED) is None


def test_without_trusted_proxies_nobody_has_an_address() -> None:
    assert client_address(INGRESS, ["192.0.2.7"], ()) is None


@given(invented=st.lists(st.text(max_size=40), max_size=60))
def test_what_a_client_writes_itself_does_not_change_who_it_is(invented: list[str]) -> None:
    lines = [",".join([*invented, "192.0.2.7"])]

    assert client_address(INGRESS, lines, TRUSTED) == "192.0.2.7"
