"""Verify a token with the provider's keys, read again when they do not fit."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from sidecar.core import id_token as core
from sidecar.core import logout_token as core_logout
from sidecar.core.id_token import Expected, IdTokenClaims, SigningKey
from sidecar.core.logout_token import LogoutToken
from sidecar.errors import TokenInvalid
from sidecar.ports import IdentityProvider

_T = TypeVar("_T")
_FOR_STRANGERS_SECONDS = 10.0


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
    return await _verified(
        provider,
        id_token,
        lambda keys: core.verify(id_token, keys, expected, now=now),
        lambda: provider.signing_keys(id_token, again=True),
    )


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

    async def read_again() -> Sequence[SigningKey]:
        # Anybody can send one: it must not have the keys read as often as a refresh may.
        await provider.read_keys(max_age_seconds=_FOR_STRANGERS_SECONDS)
        return await provider.signing_keys(token)

    return await _verified(
        provider,
        token,
        lambda keys: core_logout.verify(
            token,
            keys,
            issuer=issuer,
            client_id=client_id,
            now=now,
            aliases=provider.issuer_aliases,
        ),
        read_again,
    )


async def _verified(
    provider: IdentityProvider,
    token: str,
    verify: Callable[[Sequence[SigningKey]], _T],
    read_again: Callable[[], Awaitable[Sequence[SigningKey]]],
) -> _T:
    keys = await provider.signing_keys(token)
    try:
        return verify(keys)
    except TokenInvalid as invalid:
        if invalid.check != "signature":
            raise
    return verify(await read_again())
