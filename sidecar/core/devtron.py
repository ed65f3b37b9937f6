"""Devtron's orchestrator: what its paths are for, and how it says that a login has ended.

From its public source: `pkg/auth/user/UserAuthService.go` (`WhitelistChecker`),
`api/router/router.go`, and `middleware/AuthMiddleware.go` of its authenticator.
"""

ROOT = "/orchestrator"
# What it serves without a login; the first are whole paths, the others the beginnings of some.
_PUBLIC = frozenset(
    ("/", "/health", "/metrics",
     "/orchestrator/api/v1/session", "/orchestrator/app/ci-pipeline/github-webhook/trigger",
     "/orchestrator/dashboard-event/dashboardAccessed",
     "/orchestrator/dashboard-event/dashboardLoggedIn", "/orchestrator/devtron/auth/verify",
     "/orchestrator/security/policy/verify/webhook", "/orchestrator/self-register",
     "/orchestrator/self-register/check", "/orchestrator/sso/list",
     "/orchestrator/telemetry/summary", "/orchestrator/webhook/ci/gocd/artifact",
     "/orchestrator/webhook/msg/nats")
)  # fmt: skip
_PUBLIC_BELOW = (
    "/dashboard", "/orchestrator/api/dex", "/orchestrator/api/vi/pod/exec/ws",
    "/orchestrator/auth/callback", "/orchestrator/auth/login",
    "/orchestrator/k8s/pod/exec/sockjs/ws", "/orchestrator/webhook/git",
)  # fmt: skip
LOGIN_PAGES = ("/dashboard/login",)
UNAUTHORIZED = {"code": 401, "result": "Unauthorized"}


def needs_login(path: str) -> bool:
    """Whether Devtron serves a cleaned path to those only who have logged in."""
    return path not in _PUBLIC and not path.startswith(_PUBLIC_BELOW)


def way_back(target: str) -> str:
    """How the dashboard names a page of its own to Devtron's login, which takes this prefix off.

    The login takes addresses below its own path only (`isValidRedirectURL`, `sanitiseRedirectUrl`).
    """
    return ROOT + target if target.startswith("/dashboard") else target
