"""Whether access tokens go to Argo CD's Redis, by its settings and ours."""

from pathlib import Path

import pytest

from sidecar.config import report
from sidecar.config.seeding import AccessTokenSeed
from sidecar.config.settings import Config
from sidecar.core.argocd_files import Finding, Weight
from sidecar.errors import ConfigurationError
from tests.config.mounted import Installation

USERINFO = "enableUserInfoGroups: true\nuserInfoPath: /userinfo"
OVERAGE = "azure: {enableUserGroupOverageClaim: true}"


@pytest.fixture
def argocd(tmp_path: Path) -> Installation:
    made = Installation(tmp_path)
    made.add_to_oidc(USERINFO)
    return made


def load(argocd: Installation, **environ: str) -> Config:
    environ = {"SIDECAR_SEED_ACCESS_TOKEN": "on", **environ}
    return Config.load({**argocd.environment, "KUBERNETES_SERVICE_HOST": "10.0.0.1", **environ})


def the_finding(config: Config) -> Finding:
    (found,) = config.argocd.findings
    return found


def test_argo_cds_settings_have_all_that_is_needed(argocd: Installation) -> None:
    config = load(argocd)

    assert config.argocd.takes_over_logins
    assert config.argocd.findings == ()
    url = "redis://:hunter4%40%2F@argocd-redis:6379/0"
    assert config.argocd.access_token_seed == AccessTokenSeed(url, b"hunter3")


def test_the_prefix_of_argo_cds_keys_counts(argocd: Installation) -> None:
    argocd.change("argocd-cmd-params-cm", {"redis.key.prefix": b"team-a:"})

    seed = load(argocd).argocd.access_token_seed

    assert seed is not None
    assert seed.key_prefix == "team-a:"


@pytest.mark.parametrize("line", ["", "enableUserInfoGroups: true", "userInfoPath: /userinfo"])
def test_where_argo_cd_asks_for_no_token_it_gets_none(tmp_path: Path, line: str) -> None:
    argocd = Installation(tmp_path)
    argocd.add_to_oidc(line)

    for switch in ("on", "off"):
        config = load(argocd, SIDECAR_SEED_ACCESS_TOKEN=switch)
        assert config.argocd.access_token_seed is None
        assert config.argocd.takes_over_logins


@pytest.mark.parametrize("line", [USERINFO, OVERAGE])
def test_without_the_setting_logins_stay_with_argo_cd_and_the_mend_is_said(
    tmp_path: Path, line: str
) -> None:
    argocd = Installation(tmp_path)
    argocd.add_to_oidc(line)

    config = load(argocd, SIDECAR_SEED_ACCESS_TOKEN="off")

    assert the_finding(config).weight is Weight.ABSENT
    assert "SIDECAR_SEED_ACCESS_TOKEN=on" in str(the_finding(config))
    assert not config.argocd.takes_over_logins


def test_a_client_of_ones_own_is_taken_over_with_an_alarm(argocd: Installation) -> None:
    own = {"SIDECAR_ISSUER": "https://idp.example.org", "SIDECAR_CLIENT_ID": "own"}

    config = load(argocd, SIDECAR_SEED_ACCESS_TOKEN="off", **own)

    assert config.argocd.takes_over_logins
    assert the_finding(config).weight is Weight.DOUBTFUL
    assert load(argocd, **own).argocd.access_token_seed is not None


@pytest.mark.parametrize(
    ("volume", "data", "where"),
    [
        ("secrets/argocd-redis", {"auth": None}, "argocd-redis"),
        ("argocd-cmd-params-cm", {"redis.sentinel.hosts": b"a"}, "redis.sentinel.hosts"),
        ("argocd-cmd-params-cm", {"redis.server": b"no/address:x"}, "redis.server"),
    ],
)
def test_a_redis_that_cannot_be_reached_leaves_logins_with_argo_cd(
    argocd: Installation, volume: str, data: dict[str, bytes | None], where: str
) -> None:
    argocd.change(volume, data)
    own = {"SIDECAR_STORE_URL": "redis://elsewhere"}

    config = load(argocd, **own)

    assert the_finding(config).weight is Weight.BROKEN
    assert where in the_finding(config).where
    assert "hunter4" not in str(the_finding(config))
    named = load(argocd, SIDECAR_ARGOCD_REDIS_URL="rediss://:pw@argocd-redis:6380", **own)
    assert named.argocd.takes_over_logins
    assert named.argocd.access_token_seed is not None
    assert named.argocd.access_token_seed.redis_url == "rediss://:pw@argocd-redis:6380"


def test_without_the_parameters_the_redis_must_be_named(argocd: Installation) -> None:
    argocd.unmount("argocd-cmd-params-cm")

    config = load(argocd, SIDECAR_STORE_URL="redis://elsewhere")

    assert the_finding(config).where == "argocd-cmd-params-cm"


def test_without_argo_cds_secret_key_nothing_can_be_sealed(argocd: Installation) -> None:
    argocd.change("argocd-secret", {"server.secretkey": None})
    key = "k:" + "A" * 43 + "="

    config = load(argocd, SIDECAR_SESSION_KEYS=key)

    assert the_finding(config).where == "argocd-secret: server.secretkey"
    assert not config.argocd.takes_over_logins


@pytest.mark.parametrize("url", ["memory://", "argocd-redis:6379", "http://argocd-redis"])
def test_an_address_that_is_none_stops_the_start(argocd: Installation, url: str) -> None:
    with pytest.raises(ConfigurationError, match="SIDECAR_ARGOCD_REDIS_URL"):
        load(argocd, SIDECAR_ARGOCD_REDIS_URL=url)


def test_neither_password_nor_key_is_shown(argocd: Installation) -> None:
    config = load(argocd, SIDECAR_ARGOCD_REDIS_URL="redis://:pw-of-redis@argocd-redis:6379")

    shown = report.as_text(config) + report.as_json(config) + repr(config)

    assert "redis://***@argocd-redis:6379" in shown
    assert "pw-of-redis" not in shown
    assert "hunter3" not in shown + repr(config.argocd.access_token_seed)


def test_argo_cd_reads_where_its_redis_is_at_its_start(argocd: Installation) -> None:
    before = load(argocd)
    argocd.change("argocd-cmd-params-cm", {"redis.server": b"other:6379"})
    argocd.change("argocd-secret", {"server.secretkey": b"hunter5"})

    kept = load(argocd).keeping((), of=before)

    assert kept.argocd.access_token_seed == AccessTokenSeed(
        "redis://:hunter4%40%2F@argocd-redis:6379/0", b"hunter5"
    )
