"""What a user of the store's server has to be allowed, and no more."""

SERVING = (
    "+ping +time +evalsha +script|load +get +set +del +exists +hget +hset +hsetnx +hdel +hmget "
    "+hgetall +hlen +pexpire +pexpireat +pttl +zadd +zrem +zrange +zrangebyscore +zscore +zcard"
)
COMMANDS = "+scan"  # sidecar sessions, sidecar keys
DOCTOR = "+info"
SENTINEL = "+role"
CLUSTER = "+cluster|slots +asking"
DATABASE = "+select"

_ALL = f"{SERVING} {COMMANDS} {DOCTOR}"


def acl_line(user: str, prefix: str, *, commands: str = _ALL) -> str:
    """The command that lets a user in and to the keys behind a prefix, but for its password."""
    return f"ACL SETUSER {user} on resetkeys ~{prefix}* resetchannels -@all {commands}"


MEND = f"Give its ACL: -@all {_ALL}, and the keys argocd-token-refresh:* (docs/store.md)"
"""For who finds that something is not allowed."""
