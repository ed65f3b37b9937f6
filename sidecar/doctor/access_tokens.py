"""Whether access tokens get into Argo CD's own Redis, where it looks for them."""

import os
import secrets

from sidecar import edges
from sidecar.config.settings import Config
from sidecar.config.values import masked
from sidecar.doctor.findings import Finding, fault, ok
from sidecar.errors import SeedUnavailable
from sidecar.ports import AccessToken, Clock

_TRIAL_SECONDS = 10.0


async def look_at_access_tokens(config: Config, clock: Clock) -> str:
    """Write one for nobody, and take it out again; "" or what kind of error that met."""
    place = edges.access_tokens(config, clock, os.urandom)
    if place is None:
        return ""
    trial = AccessToken(f"doctor {secrets.token_hex(8)}", "trial", _TRIAL_SECONDS)
    try:
        await place.put(trial)
        await place.put_back([trial])
        await place.take_back(trial)
    except SeedUnavailable as error:
        return str(error)
    finally:
        await place.aclose()
    return ""


def of_access_tokens(config: Config, error: str) -> Finding:
    """What follows from it."""
    seed = config.argocd.access_token_seed
    where = masked(seed.redis_url) if seed else ""
    if not error:
        return ok("store.access_tokens", f"access tokens for Argo CD can be written to {where}")
    return fault(
        "store.access_tokens",
        f"access tokens for Argo CD cannot be written to {where} ({error})",
        "Argo CD asks for groups with them, and refuses everybody without.",
        "Correct SIDECAR_ARGOCD_REDIS_URL, or redis.server and the Secret argocd-redis, and let "
        "this pod through the Redis' NetworkPolicy",
    )
