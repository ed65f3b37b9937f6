"""What an address says of the store that is behind it."""

import binascii

import pytest

from sidecar.core.store_address import StoreAddress, StoreKind, slot_of

ONE, SENTINEL, CLUSTER = StoreKind.ONE, StoreKind.SENTINEL, StoreKind.CLUSTER


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("redis://redis", "redis", 6379),
        ("redis://Redis-1.argo_cd.svc:6380", "Redis-1.argo_cd.svc", 6380),
        ("redis://10.0.0.7:1", "10.0.0.7", 1),
        ("redis://[fd00::aB1]:65535", "fd00::aB1", 65535),
        ("redis://[::FFFF:10.0.0.7]", "::FFFF:10.0.0.7", 6379),
        ("redis://0a-zA-Z_9", "0a-zA-Z_9", 6379),
    ],
)
def test_one_server_is_at_a_host_and_a_port_that_may_be_left_out(
    text: str, host: str, port: int
) -> None:
    assert StoreAddress.parse(text) == StoreAddress(kind=ONE, hosts=((host, port),))


@pytest.mark.parametrize(("scheme", "tls"), [("redis", False), ("rediss", True)])
@pytest.mark.parametrize(
    ("word", "rest", "kind"),
    [("", "a", ONE), ("+sentinel", "a/main", SENTINEL), ("+cluster", "a", CLUSTER)],
)
def test_the_scheme_says_whether_there_is_tls_and_who_knows_the_server(
    scheme: str, tls: bool, word: str, rest: str, kind: StoreKind
) -> None:
    found = StoreAddress.parse(f"{scheme}{word}://{rest}")

    assert (found.tls, found.kind) == (tls, kind)


@pytest.mark.parametrize(
    ("login", "username", "password"),
    [
        ("", "", ""),
        ("ada@", "ada", ""),
        (":hunter2@", "", "hunter2"),
        ("ada:hun:ter2@", "ada", "hun:ter2"),
        ("a%40b:p%2Fw%3A@", "a@b", "p/w:"),
        ("a@b:c@d@", "a@b", "c@d"),
    ],
)
def test_a_login_may_have_a_name_and_a_password_that_may_be_escaped(
    login: str, username: str, password: str
) -> None:
    for text in (f"redis://{login}redis", f"unix://{login}/run/redis.sock"):
        found = StoreAddress.parse(text)
        assert (found.username, found.password) == (username, password)
        assert "hunter2" not in repr(found)
        assert "hun:ter2" not in repr(found)


@pytest.mark.parametrize(
    ("path", "database"), [("", 0), ("/", 0), ("/0", 0), ("/7", 7), ("/123456789", 123456789)]
)
def test_a_path_is_the_number_of_a_database(path: str, database: int) -> None:
    assert StoreAddress.parse(f"redis://redis{path}").database == database


@pytest.mark.parametrize(
    ("path", "primary", "database"),
    [
        ("/main", "main", 0),
        ("/main/", "main", 0),
        ("/my-Main.1_x/3", "my-Main.1_x", 3),
        ("/main/123456789", "main", 123456789),
    ],
)
def test_behind_sentinels_a_path_names_the_primary_and_its_database(
    path: str, primary: str, database: int
) -> None:
    assert StoreAddress.parse(f"redis+sentinel://a,b:26380,[::1]:1{path}") == StoreAddress(
        kind=SENTINEL,
        hosts=(("a", 26379), ("b", 26380), ("::1", 1)),
        primary=primary,
        database=database,
    )


def test_a_cluster_has_some_hosts_and_the_database_0() -> None:
    cluster = StoreAddress(kind=CLUSTER, hosts=(("a", 6379), ("b", 7000)), tls=True)

    for path in ("", "/", "/0"):
        assert StoreAddress.parse(f"rediss+cluster://a,b:7000{path}") == cluster


@pytest.mark.parametrize(
    ("text", "path", "database"),
    [
        ("unix:///run/redis.sock", "/run/redis.sock", 0),
        ("unix:///run/my%20redis.sock?db=3", "/run/my redis.sock", 3),
        ("unix:///s?db=123456789", "/s", 123456789),
    ],
)
def test_a_socket_has_a_path_and_perhaps_a_database(text: str, path: str, database: int) -> None:
    assert StoreAddress.parse(text) == StoreAddress(socket=path, database=database)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not an address"),
        ("redis", "is not an address"),
        ("redis://", "is not an address"),
        ("http://redis", "is not an address"),
        ("xredis://redis", "is not an address"),
        ("redisss://redis", "is not an address"),
        ("redis+other://redis", "is not an address"),
        ("redis://redis/x", "is not an address"),
        ("redis://redis/1234567890", "is not an address"),
        ("redis://redis/1/2", "is not an address"),
        ("redis://redis?db=1", "is not an address"),
        ("redis://redis:0", "is not an address"),
        ("redis://redis:65536", "is not an address"),
        ("redis://redis:x", "is not an address"),
        ("redis://re dis", "is not an address"),
        ("redis://[fd00::1", "is not an address"),
        ("redis+cluster://a,,b", "is not an address"),
        ("unix://run/redis.sock", "is not an address"),
        ("unix:///s?db=x", "is not an address"),
        ("unix:///s?db=1234567890", "is not an address"),
        ("redis://a,b", "has several hosts, and does not say what they are"),
        ("redis+sentinel://a", "does not name the primary behind its Sentinels"),
        ("redis+sentinel://a/", "does not name the primary behind its Sentinels"),
        ("redis+sentinel://a/ma in", "does not name the primary behind its Sentinels"),
        ("redis+sentinel://a/main/x", "does not name the primary behind its Sentinels"),
        ("redis+cluster://a/1", "has a database, and a Cluster has none but 0"),
    ],
)
def test_what_is_no_address_is_told_without_its_text(text: str, why: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is looked at
        StoreAddress.parse(text)

    assert str(raised.value) == why


def test_a_place_of_which_nothing_is_said_is_one_server_without_a_login() -> None:
    nothing = StoreAddress()

    assert (nothing.kind, nothing.hosts, nothing.socket, nothing.primary) == (ONE, (), "", "")
    assert (nothing.database, nothing.tls) == (0, False)
    assert (nothing.username, nothing.password) == ("", "")
    assert {str(kind) for kind in StoreKind} == {"one", "sentinel", "cluster"}


@pytest.mark.parametrize(
    ("key", "as_key"),
    [
        (b"{user1}:session", b"user1"),
        (b"a{user1}b{user2}", b"user1"),
        (b"a}b{c}", b"c"),
        (b"{a{b}c}", b"a{b"),
    ],
)
def test_keys_of_one_tag_are_in_one_slot(key: bytes, as_key: bytes) -> None:
    assert slot_of(key) == slot_of(as_key)


@pytest.mark.parametrize("key", [b"a{user1", b"a{}b{user2}", b"user1}", b"{}"])
def test_a_key_without_a_whole_tag_counts_as_a_whole(key: bytes) -> None:
    assert slot_of(key) == binascii.crc_hqx(key, 0) % 16384


@pytest.mark.parametrize(
    ("key", "slot"), [(b"123456789", 12739), (b"foo", 12182), (b"", 0), (b"{}", 15257)]
)
def test_a_keys_slot_is_the_one_that_the_specification_gives_it(key: bytes, slot: int) -> None:
    assert slot_of(key) == slot
