"""All attacks, in the order of their modules."""

from tests.attacks import (  # noqa: F401 - each enters its own into the list
    cookies,
    floods,
    logins,
    logouts,
    machines,
    observed,
    pages,
    provider,
    redirects,
    requests,
    sessions,
    store,
    tokens,
)
from tests.attacks.attack import ATTACKS as ATTACKS
