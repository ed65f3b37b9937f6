"""`$key` and `$secret:key`, as Argo CD puts secrets into their place."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress

from sidecar.core.argocd_files import CM, SECRET, ArgoCdFiles, Weight
from sidecar.core.argocd_oidc import read_oidc

# What Go's strings.TrimSpace takes away.
_GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_SECRET_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def referenced_secrets(cm: Mapping[str, bytes]) -> list[str]:
    """The Secrets besides `argocd-secret` that `oidc.config` refers to."""
    found: dict[str, None] = {}

    def note(_: str, value: str) -> str:
        name, colon, _ = value.removeprefix("$").partition(":")
        if value.startswith("$") and colon and name != SECRET and _SECRET_NAME.fullmatch(name):
            found.setdefault(name)
        return value

    with suppress(KeyError, ValueError):  # what is wrong with it is said where it is read
        read_oidc(cm["oidc.config"].decode(), note)
    return list(found)


class References:
    """The secrets that a text of `oidc.config` may refer to; `find` is told of what is wrong."""

    def __init__(self, files: ArgoCdFiles, find: Callable[[Weight, str, str], None]) -> None:
        self._files = files
        self._find = find
        self._secrets = _secret_values(files)

    def resolve(self, key: str, value: str) -> str:
        """A text, or the secret that it refers to (Argo CD's ReplaceStringSecret).

        A reference that leads nowhere stays as it is, as in Argo CD. Where the Secret cannot be
        seen from here, Argo CD may know more.
        """
        if not value.startswith("$"):
            return value
        found = self._secrets.get(value[1:])
        where = f"{CM}: oidc.config: {key}"
        if found is None:
            self._say_unresolved(value[1:], where)
            return value
        try:
            return found.decode().strip(_GO_SPACE)
        except UnicodeDecodeError:
            self._find(Weight.BROKEN, where, "refers to a secret that is no UTF-8 text. Correct it")
            return value

    def _say_unresolved(self, name: str, where: str) -> None:
        other, colon, key = name.partition(":")
        if not colon or not _SECRET_NAME.fullmatch(other) or not _SECRET_KEY.fullmatch(key):
            self._say_no_key(name, where)
            return
        secret = self._files.others.get(other)
        seen = self._files.secret is not None if other == SECRET else secret is not None
        weight, what = Weight.DOUBTFUL, f"refers to a key that the Secret {other} does not have"
        mend = "Add it"
        if not seen:
            weight, what = Weight.BROKEN, f"refers to the Secret {other}, which cannot be seen"
            mend = self._files.mend(other)
        elif secret is not None and secret.part_of_argocd is False:
            what = f"refers to the Secret {other}, which Argo CD does not look into"
            mend = "Label it app.kubernetes.io/part-of: argocd"
        self._find(weight, where, f"{what}. {mend}")

    def _say_no_key(self, name: str, where: str) -> None:
        if self._files.secret is None and _SECRET_KEY.fullmatch(name):
            self._find(
                Weight.BROKEN,
                where,
                f"refers to {SECRET}, which cannot be seen. {self._files.mend(SECRET)}",
            )
            return
        # What follows the dollar may be the secret itself: it is not shown.
        self._find(
            Weight.DOUBTFUL,
            where,
            f"begins with $, and {SECRET} has no such key, so it is taken as it stands. "
            "Add the key, or correct the reference",
        )


def _secret_values(files: ArgoCdFiles) -> dict[str, bytes]:
    """What a reference may name: `key` of `argocd-secret`, or `secret:key`."""
    secret = files.secret or {}
    values = {f"{SECRET}:{key}": value for key, value in secret.items()}
    for name, other in files.others.items():
        if other.part_of_argocd is not False:
            values |= {f"{name}:{key}": value for key, value in other.data.items()}
    return values | dict(secret)
