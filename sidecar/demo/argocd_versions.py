"""What Argo CD's releases do differently where logins and tokens are concerned.

Read in Argo CD's source, from 2.8.1 to the branch that becomes 3.6: `docs/argocd.md`.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto


class NativeRefresh(Enum):
    """When Argo CD itself renews the ID token of a login that its own callback has finished."""

    NEVER = auto()
    BEFORE_THE_END = auto()
    """Within `refreshTokenThreshold` of the token's end."""
    AFTER_IT_TOO = auto()
    """For an expired token as well, whatever the threshold."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What one release does."""

    shows_pkce: bool
    """`/api/v1/settings` has `enablePKCEAuthentication`."""
    ui_runs_pkce: bool
    """With it the UI logs in by itself, in the browser, and never comes to `/auth/login`."""
    asks_userinfo: bool
    """`enableUserInfoGroups` is known."""
    logs_out_by_host: bool
    """A logout goes back to the one of `url` and `additionalUrls` that it came to."""
    revokes_id_tokens: bool
    """A logout's ID token is refused from then on; before, only those of local accounts are."""
    native_refresh: NativeRefresh


def traits_of(version: str) -> Traits:
    """The traits of a release, `v3.4.6`."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    return Traits(
        shows_pkce=numbers >= (2, 10),
        ui_runs_pkce=(2, 10) <= numbers < (3, 1),
        asks_userinfo=numbers >= (2, 10),
        logs_out_by_host=numbers >= (2, 13),
        revokes_id_tokens=numbers >= (3, 4),
        native_refresh=_native_refresh(numbers),
    )


def _native_refresh(numbers: tuple[int, ...]) -> NativeRefresh:
    if numbers < (3, 3):
        return NativeRefresh.NEVER
    late = numbers >= (3, 4, 6)
    return NativeRefresh.AFTER_IT_TOO if late else NativeRefresh.BEFORE_THE_END
