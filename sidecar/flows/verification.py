"""Verify a token with the provider's keys, read again when they do not fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from sidecar.core import id_token as core
from sidecar.core import logout_token as core_logout
from sidecar.core.id_token import Expected, IdTokenClaims
from sidecar.core.logout_token import LogoutToken
from sidecar.errors import TokenInvalid
from sidecar.ports import IdentityProvider

STRANGERS_SECONDS = 10.0  # between two looks at the keys for tokens that anybody may send


async def verified_claims(
    provider: IdentityProvider, id_token: str, expected: Expected, *, now: float
) -> IdTokenClaims:
    """The claims of `id_token`, once all its checks hold.

    A provider may have changed a key and kept its id (a restarted Dex), so a bad signature is
    looked at once more with fresh keys.

    Raises:
        TokenInvalid: naming the check.
        ProviderUnavailable: the keys could not be read.
    """
    expected = replace(expected, aliases=provider.issuer_aliases)
    keys = await provider.signing_keys(id_token)
    with _unless_its_key_has_changed():
        return core.verify(id_token, keys, expected, now=now)
    keys = await provider.signing_keys(id_token, again=True)
    return core.verify(id_token, keys, expected, now=now)


async def verified_logout_token(
    provider: IdentityProvider, token: str, *, issuer: str, client_id: str, now: float
) -> LogoutToken:
    """Whom a logout token logs out, once all its checks hold.

    Raises:
        TokenInvalid: naming the check.
        ProviderUnavailable: the keys could not be read.
    """
    if len(token) > core_logout.MAX_LENGTH:
        raise TokenInvalid("length")
    verify = partial(
        core_logout.verify,
        token,
        issuer=issuer,
        client_id=client_id,
        now=now,
        aliases=provider.issuer_aliases,
    )
    with _unless_its_key_has_changed():
        return verify(await provider.signing_keys(token))
    # Anybody may send one, and is not to make us ask the provider each time.
    await provider.read_keys(max_age_seconds=STRANGERS_SECONDS)
    return verify(await provider.signing_keys(token))


@contextmanager
def _unless_its_key_has_changed() -> Iterator[None]:
    """Goes on behind the block where the keys that are known do not fit."""
    try:
        yield
    except TokenInvalid as invalid:
        if invalid.check != "signature":
            raise
