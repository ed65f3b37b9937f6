"""What a user of the store's server may do."""

from pathlib import Path

from sidecar.core.store_acl import (
    CLUSTER,
    COMMANDS,
    DATABASE,
    DOCTOR,
    MEND,
    SENTINEL,
    SERVING,
    acl_line,
)

KEYS = {"del", "exists", "get", "set", "pexpire", "pexpireat", "pttl"}
HASHES = {"hdel", "hget", "hgetall", "hlen", "hmget", "hset", "hsetnx"}
SORTED_SETS = {"zadd", "zcard", "zrange", "zrangebyscore", "zrem", "zscore"}
CONNECTION = {"ping", "time", "evalsha", "script|load"}
OF_A_REPLICA = KEYS | HASHES | SORTED_SETS | CONNECTION


def allowed(rules: str) -> set[str]:
    """The commands that some rules allow."""
    return {rule.removeprefix("+") for rule in rules.split() if rule.startswith("+")}


def test_a_user_may_do_what_the_sidecar_and_its_commands_do_behind_its_prefix_and_no_more() -> None:
    line = acl_line("sidecar", "argocd-token-refresh:")

    begins, commands = line.split(" -@all ")
    assert begins == "ACL SETUSER sidecar on resetkeys ~argocd-token-refresh:* resetchannels"
    assert allowed(commands) == OF_A_REPLICA | {"scan", "info"}
    assert len(commands.split()) == len(allowed(commands))


def test_a_user_may_be_given_less_or_more() -> None:
    assert acl_line("a", "p:", commands="+ping").endswith(" resetchannels -@all +ping")
    more = f"{COMMANDS} {DOCTOR} {SENTINEL} {CLUSTER} {DATABASE}"
    assert allowed(more) == {"scan", "info", "role", "cluster|slots", "asking", "select"}
    assert len(more.split()) == 6


def test_the_mend_says_the_same_commands_the_keys_and_where_to_read_on() -> None:
    commands = acl_line("a", "p:").partition("-@all ")[2]

    assert f"-@all {commands}, and the keys argocd-token-refresh:*" in MEND
    assert MEND.startswith("Give its ACL: ")
    assert MEND.endswith("(docs/store.md)")


def test_a_user_of_the_store_gets_no_more_than_the_page_says() -> None:
    page = Path("docs/store.md").read_text(encoding="utf-8")

    line = acl_line("token-refresh", "argocd-token-refresh:", commands=SERVING)

    assert line in page
    assert " resetkeys ~argocd-token-refresh:* resetchannels -@all +" in line
