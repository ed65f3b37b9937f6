import pytest

from sidecar.core.devtron import needs_login, way_back


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("/dashboard/app/list?x=1", "/orchestrator/dashboard/app/list?x=1"),
        ("/orchestrator/api/v1/x", "/orchestrator/api/v1/x"),
        ("/", "/"),
    ],
)
def test_the_dashboards_pages_are_named_to_its_login_below_the_logins_own_path(
    target: str, named: str
) -> None:
    assert way_back(target) == named


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("/health", False),
        ("/healthy", True),
        ("/dashboard/app", False),
        ("/orchestrator/app/list", True),
    ],
)
def test_what_devtron_serves_to_everybody_needs_no_login(path: str, needed: bool) -> None:
    assert needs_login(path) is needed
