"""Attacks where the upstream makes its own logins, and the sidecar sees them pass."""

from tests.attacks.attack import Defence, attack
from tests.attacks.lab import Lab
from tests.observed.place import devtron_place
from tests.world import PacedClock


async def observed_use(_: Lab) -> None:
    """A login at Devtron makes a session."""
    async with devtron_place(PacedClock()) as here:
        browser = await here.logged_in()
        assert browser.session()
        assert here.metric("observed_logins_total", result="session") == 1


@attack(
    18,
    does="Reads refresh tokens in the memory or the log of an upstream that makes its own logins.",
    stopped_by=Defence(
        "the token answer loses its refresh token before the upstream sees it",
        "sidecar.core.observing:without_refresh_token",
        lambda _: lambda body: body,
    ),
    use=observed_use,
)
async def refresh_token_to_the_upstream(_: Lab) -> bool:
    async with devtron_place(PacedClock()) as here:
        await here.logged_in()

        (answer,) = here.devtron.login.token_answers
        return "refresh_token" in answer
