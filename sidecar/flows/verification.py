"""Verify an ID token with the provider's keys, read again when they do not fit."""

from dataclasses import replace

from sidecar.core import id_token as core
from sidecar.core.id_token import Expected, IdTokenClaims
from sidecar.errors import TokenInvalid
from sidecar.ports import IdentityProvider


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
    try:
        return core.verify(id_token, keys, expected, now=now)
    except TokenInvalid as invalid:
        if invalid.check != "signature":
            raise
    keys = await provider.signing_keys(id_token, again=True)
    return core.verify(id_token, keys, expected, now=now)
