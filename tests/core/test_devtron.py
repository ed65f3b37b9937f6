"""Which of Devtron's paths are for those only who have logged in, and how its login is called."""

import pytest

from sidecar.core.devtron import LOGIN_PAGES, UNAUTHORIZED, needs_login, way_back

# Devtron's `WhitelistChecker` (pkg/auth/user/UserAuthService.go), and what its router serves beside
# the orchestrator.
WHOLE = [
    "/",
    "/health",
    "/metrics",
    "/orchestrator/api/v1/session",
    "/orchestrator/app/ci-pipeline/github-webhook/trigger",
    "/orchestrator/dashboard-event/dashboardAccessed",
    "/orchestrator/dashboard-event/dashboardLoggedIn",
    "/orchestrator/devtron/auth/verify",
    "/orchestrator/security/policy/verify/webhook",
    "/orchestrator/self-register",
    "/orchestrator/self-register/check",
    "/orchestrator/sso/list",
    "/orchestrator/telemetry/summary",
    "/orchestrator/webhook/ci/gocd/artifact",
    "/orchestrator/webhook/msg/nats",
]
BEGINNINGS = [
    "/dashboard",
    "/orchestrator/api/dex",
    "/orchestrator/api/vi/pod/exec/ws",  # their spelling
    "/orchestrator/auth/callback",
    "/orchestrator/auth/login",
    "/orchestrator/k8s/pod/exec/sockjs/ws",
    "/orchestrator/webhook/git",
]


@pytest.mark.parametrize("path", [*WHOLE, *BEGINNINGS, *(f"{each}/x" for each in BEGINNINGS)])
def test_what_devtron_serves_to_everybody_needs_no_login(path: str) -> None:
    assert not needs_login(path)


@pytest.mark.parametrize(
    "path",
    [
        *(f"{each}/x" for each in WHOLE if each != "/"),
        *(f"/x{each}" for each in BEGINNINGS),
        "/orchestrator",
        "/orchestrator/app/list",
        "/grafana",
        "/Health",
    ],
)
def test_anything_else_of_devtrons_needs_a_login(path: str) -> None:
    assert needs_login(path)


@pytest.mark.parametrize(
    ("target", "back"),
    [
        ("/dashboard", "/orchestrator/dashboard"),
        ("/dashboard/app/list?page=1", "/orchestrator/dashboard/app/list?page=1"),
        ("/orchestrator/dashboard", "/orchestrator/dashboard"),
        ("/", "/"),
        ("/x/dashboard", "/x/dashboard"),
    ],
)
def test_devtrons_login_is_given_addresses_below_its_own_path(target: str, back: str) -> None:
    assert way_back(target) == back


def test_the_dashboards_login_page_is_known_and_is_for_everybody() -> None:
    assert "/dashboard/login".startswith(LOGIN_PAGES)
    assert not any(needs_login(page) for page in LOGIN_PAGES)


def test_a_request_without_a_login_is_answered_as_devtron_answers_it() -> None:
    assert UNAUTHORIZED == {"code": 401, "result": "Unauthorized"}
