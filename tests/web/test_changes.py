"""What changes in Argo CD's settings takes effect without a restart, or is refused and said."""

import asyncio
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import structlog
from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs
from yarl import URL

from sidecar.app import running
from sidecar.changes import Changes
from sidecar.config.settings import Config
from sidecar.demo.oauth import ProviderSettings
from sidecar.demo.provider import DemoProvider
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from tests.config.mounted import Installation
from tests.fakes.clock import FakeClock
from tests.fakes.discovery import tls_issuer
from tests.proxy.certificates import self_signed
from tests.web.conftest import Installed
from tests.world import Browser, World, eventually, world

API = "/api/v1/applications"


def asked_for(login: URL) -> dict[str, list[str]]:
    """The parameters of an authorization request."""
    return parse_qs(urlsplit(str(login)).query)


async def start(browser: Browser) -> URL:
    """Where a login leads."""
    answer = await browser.get("/auth/login")
    assert answer.status == 303
    return URL(answer.headers["Location"])


async def renewed(here: World, browser: Browser) -> int:
    """The status of a request after the token's end, which needs a renewal."""
    here.clock.advance(301)
    return (await browser.get(API)).status


def other_provider(here: World, key: rsa.RSAPrivateKey, name: str = "/other") -> DemoProvider:
    settings = ProviderSettings(
        redirect_uris=(f"{here.base}/auth/callback",), id_token_seconds=300, path=name
    )
    return DemoProvider(settings, now=here.clock.now, key=key)


async def test_a_new_client_secret_is_used_at_once_and_nobody_logs_in_again(
    installed: Installed,
) -> None:
    here = installed.world
    browser = await here.logged_in()
    here.provider.settings.client_secret = "rotated"
    assert await renewed(here, browser) == 503  # the field's case: the old secret is refused

    installed.argocd.change("argocd-secret", {"oidc.clientSecret": b"rotated"})
    await installed.changed()

    assert (await browser.get(API)).status == 200
    assert (await (await here.browser()).log_in()).status == 303


async def test_a_client_secret_in_a_file_of_its_own_is_seen_to_change(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("demo-secret")
    argocd = Installation(tmp_path / "argocd")
    environment = {"SIDECAR_CLIENT_SECRET_FILE": str(secret)}
    async with world(signing_key, fake_clock, installation=argocd, environment=environment) as here:
        browser = await here.logged_in()
        here.provider.settings.client_secret = "rotated"
        assert await renewed(here, browser) == 503

        secret.write_text("rotated")
        await here.sidecars[0].running.changes.look()

        assert (await browser.get(API)).status == 200


async def test_a_wrong_client_secret_ends_no_session_and_its_mend_needs_no_restart(
    installed: Installed,
) -> None:
    here = installed.world
    browser = await here.logged_in()
    right = here.provider.settings.client_secret.encode()

    installed.argocd.change("argocd-secret", {"oidc.clientSecret": b"wrong"})
    await installed.changed()
    assert await renewed(here, browser) == 503
    assert browser.session()

    installed.argocd.change("argocd-secret", {"oidc.clientSecret": right})
    await installed.changed()
    assert (await browser.get(API)).status == 200
    assert here.provider.logins == 1


async def test_scopes_and_parameters_of_a_login_change(installed: Installed) -> None:
    browser = await installed.world.browser()
    assert asked_for(await start(browser))["scope"] == [
        "openid profile email groups offline_access"
    ]

    installed.argocd.add_to_oidc(
        "requestedScopes: [openid, email]\ndomainHint: example.org\n"
        "requestedIDTokenClaims: {groups: {essential: true}}"
    )
    await installed.changed()

    asked = asked_for(await start(browser))
    assert asked["scope"] == ["openid email offline_access"]
    assert asked["domain_hint"] == ["example.org"]
    assert asked["claims"] == ['{"id_token":{"groups":{"essential":true}}}']


async def test_a_login_in_flight_finishes_when_scopes_secret_and_keys_change(
    installed: Installed,
) -> None:
    here = installed.world
    browser = await here.browser()
    callback = await browser.sign_in()

    installed.argocd.add_to_oidc("domainHint: example.org")
    await installed.changed()
    installed.argocd.change("argocd-secret", {"server.secretkey": b"another"})
    await installed.changed()

    assert (await browser.get(callback)).status == 303
    assert (await browser.get(API)).status == 200


async def test_another_provider_is_used_and_a_login_in_flight_ends_at_the_one_it_began_with(
    installed: Installed, signing_key: rsa.RSAPrivateKey
) -> None:
    here = installed.world
    before, browser = await here.logged_in(), await here.browser()
    callback = await browser.sign_in()
    codes = here.provider.token_requests
    other = other_provider(here, signing_key)
    async with other.running() as issuer:
        client = other.settings.client_id, other.settings.client_secret
        installed.argocd.log_in_at(issuer, *client, url=here.base)
        await installed.changed()

        in_flight = await browser.get(callback)

        assert in_flight.status == 303
        assert here.provider.token_requests == codes + 1
        assert other.token_requests == 0  # a code goes to nobody but who gave it
        assert str(await start(browser)).startswith(issuer)
        # Argo CD takes the other provider's tokens no longer: both log in anew.
        assert (await before.get(API)).status == 401
        assert (await browser.get(API)).status == 401
        here.argocd.settings.issuer = issuer


async def test_a_login_in_flight_is_not_remembered_for_ever(
    installed: Installed, signing_key: rsa.RSAPrivateKey
) -> None:
    here = installed.world
    browser = await here.browser()
    callback = await browser.sign_in()
    other = other_provider(here, signing_key)
    async with other.running() as issuer:
        client = other.settings.client_id, other.settings.client_secret
        installed.argocd.log_in_at(issuer, *client, url=here.base)
        await installed.changed()
        here.clock.advance(700)
        installed.argocd.add_to_oidc("domainHint: x")
        await installed.changed()

        assert (await browser.get(callback)).status == 400

    assert other.token_requests == 0


async def test_open_streams_end_with_their_provider(
    installed: Installed, signing_key: rsa.RSAPrivateKey
) -> None:
    here = installed.world
    browser = await here.logged_in()
    url = f"{browser.base}/api/v1/stream/applications"
    async with browser.http.get(url, headers={"Accept": "text/event-stream"}) as stream:
        assert stream.status == 200
        other = other_provider(here, signing_key)
        async with other.running() as issuer:
            client = other.settings.client_id, other.settings.client_secret
            installed.argocd.log_in_at(issuer, *client, url=here.base)
            await installed.changed()

            async with asyncio.timeout(5):
                await stream.content.read()


async def test_open_streams_end_with_the_secretkey(installed: Installed) -> None:
    browser = await installed.world.logged_in()
    url = f"{browser.base}/api/v1/stream/applications"
    async with browser.http.get(url, headers={"Accept": "text/event-stream"}) as stream:
        assert stream.status == 200
        installed.argocd.change("argocd-secret", {"server.secretkey": b"another"})
        await installed.changed()

        async with asyncio.timeout(5):
            await stream.content.read()


async def test_a_root_ca_is_used_when_it_comes(installed: Installed, tmp_path: Path) -> None:
    here = installed.world
    browser = await here.browser()
    pair = self_signed(tmp_path / "provider", "localhost")
    authority = (tmp_path / "provider" / "tls.crt").read_bytes()
    async with tls_issuer(pair) as issuer:
        installed.argocd.log_in_at(issuer, "argo-cd", "secret", url=here.base)
        await installed.changed()
        assert (await browser.get("/auth/login")).status == 503
        assert "certificate is not trusted" in (await installed.detail())["provider"]

        here.clock.advance(2)
        installed.argocd.change("argocd-secret", {"ca": authority})
        installed.argocd.add_to_oidc("rootCA: $ca")
        await installed.changed()

        assert (await browser.get("/auth/login")).headers["Location"].startswith(issuer)


async def test_an_issuer_without_a_checked_certificate_is_used_when_argo_cd_does(
    installed: Installed, tmp_path: Path
) -> None:
    here = installed.world
    browser = await here.browser()
    async with tls_issuer(self_signed(tmp_path / "provider", "other.example")) as issuer:
        installed.argocd.log_in_at(issuer, "argo-cd", "secret", url=here.base)
        installed.argocd.change("argocd-cm", {"oidc.tls.insecure.skip.verify": b"true"})
        await installed.changed()

        assert (await browser.get("/auth/login")).headers["Location"].startswith(issuer)


async def test_open_streams_and_kept_connections_outlive_other_changes(
    installed: Installed,
) -> None:
    here = installed.world
    browser = await here.logged_in()
    url = f"{browser.base}/api/v1/stream/applications"
    async with browser.http.get(url, headers={"Accept": "text/event-stream"}) as stream:
        assert (await browser.get(API)).status == 200
        installed.argocd.add_to_oidc("domainHint: x")
        await installed.changed()

        # The connection was asked for the same with the same fields before.
        assert (await browser.get(API)).status == 200
        here.argocd.emit({"type": "MODIFIED", "application": {"metadata": {"name": "seen"}}})
        async with asyncio.timeout(5):
            while b"seen" not in await stream.content.readany():
                pass


async def test_another_secretkey_of_argo_cd_ends_all_sessions_and_is_no_store_error(
    installed: Installed,
) -> None:
    here = installed.world
    browser = await here.logged_in()
    installed.argocd.change("argocd-secret", {"server.secretkey": b"another"})
    await installed.changed()

    assert (await browser.get(API)).status == 401
    assert (await browser.log_in()).status == 303
    assert (await browser.get(API)).status == 200
    assert here.metric("alarms_total", kind="key_unknown") == 0


async def test_a_shorter_session_duration_counts_for_the_next_login(installed: Installed) -> None:
    here = installed.world
    installed.argocd.change("argocd-cm", {"users.session.duration": b"10m"})
    await installed.changed()
    browser = await here.logged_in()

    here.clock.advance(590)
    assert (await browser.get(API)).status == 200
    here.clock.advance(20)
    assert (await browser.get(API)).status == 401


async def test_single_sign_on_that_comes_later_is_taken_over(installed: Installed) -> None:
    here = installed.world
    provider = here.provider
    installed.argocd.change("argocd-cm", {"oidc.config": None})
    replica, browser = await installed.starts()
    assert replica.metric("takes_over_logins") == 0
    await browser.get(API)

    client = provider.settings.client_id, provider.settings.client_secret
    installed.argocd.log_in_at(provider.issuer, *client, url=here.base)
    await installed.changed()

    callback = URL(await browser.sign_in(), encoded=True)
    assert (await browser.get(callback.raw_path_qs)).status == 303
    assert (await browser.get(API)).status == 200
    assert replica.metric("takes_over_logins") == 1
    assert (await installed.detail(replica))["configuration"] == "ok"


async def test_single_sign_on_that_is_taken_away_passes_to_argo_cd(installed: Installed) -> None:
    here = installed.world
    browser = await here.logged_in()

    installed.argocd.change("argocd-cm", {"oidc.config": None})
    await installed.changed()

    assert (await browser.get(API)).status == 401
    assert (await browser.get("/auth/login")).headers["Location"] == here.provider.issuer
    assert here.argocd.seen.own_logins == 1
    assert "no single sign-on" in (await installed.detail())["configuration"]


async def test_a_broken_change_is_refused_said_and_the_one_before_goes_on(
    installed: Installed,
) -> None:
    here = installed.world
    browser = await here.logged_in()
    broken: dict[str, Callable[[], None]] = {
        "half-written": lambda: installed.argocd.oidc("issuer: [https://idp"),
        "no issuer": lambda: installed.argocd.oidc("clientID: argo-cd"),
        "no url": lambda: installed.argocd.change("argocd-cm", {"url": b""}),
        "no CA": lambda: installed.argocd.add_to_oidc("rootCA: none"),
        "no secret": lambda: installed.argocd.change("argocd-secret", {"oidc.clientSecret": None}),
        "gone": lambda: installed.argocd.unmount("argocd-cm"),
    }
    client = here.provider.settings.client_id, here.provider.settings.client_secret
    for number, (how, break_it) in enumerate(broken.items(), start=1):
        break_it()
        await installed.changed()

        assert await renewed(here, browser) == 200, how
        assert (await browser.get("/auth/login")).status == 303, how
        assert "refused: argocd-cm" in (await installed.detail())["configuration"], how
        assert here.metric("configuration_refused") == 1
        assert here.metric("alarms_total", kind="configuration_refused") == number

        installed.argocd.log_in_at(here.provider.issuer, *client, url=here.base)
        await installed.changed()

        assert (await installed.detail())["configuration"] == "ok", how
        assert here.metric("configuration_refused") == 0
    assert here.argocd.seen.own_logins == 0
    assert here.provider.logins == 1


async def test_what_argo_cd_reads_at_its_start_waits_for_one(
    fake_clock: FakeClock, tmp_path: Path
) -> None:
    argocd, used = Installation(tmp_path), list[Config]()

    def load() -> Config:
        return Config.load(argocd.environment)

    async def use(config: Config) -> None:
        used.append(config)

    log = structlog.get_logger()
    runtime = Runtime(fake_clock, os.urandom, Tasks(log), Metrics(), log)
    changes = Changes(load(), load, use, runtime)
    self_signed(tmp_path / "made", "argocd.example.org")
    pair = {name: (tmp_path / "made" / name).read_bytes() for name in ("tls.crt", "tls.key")}
    argocd.change("argocd-secret", pair)
    argocd.change("argocd-cmd-params-cm", {"server.insecure": b"false", "redis.server": b"b:1"})
    with capture_logs() as lines:
        await changes.look()
        assert used == []
        argocd.add_to_oidc("domainHint: x")
        await changes.look()

    (config,) = used
    assert config.argocd.authorization == (("domain_hint", "x"),)
    assert config.upstream == "http://127.0.0.1:8090"
    assert config.tls_cert_file is None
    assert "@argocd-redis:6379/" in config.store_url
    (line,) = [line for line in lines if line["event"] == "configuration_waits"]
    assert line["settings"] == [
        "upstream", "upstream_tls_verify", "store_url", "tls_cert_file", "tls_key_file"
    ]  # fmt: skip


async def test_another_root_path_waits_for_argo_cd_to_have_it(
    fake_clock: FakeClock, tmp_path: Path
) -> None:
    argocd, used = Installation(tmp_path), list[Config]()

    def load() -> Config:
        return Config.load(argocd.environment)

    async def use(config: Config) -> None:
        used.append(config)

    log = structlog.get_logger()
    runtime = Runtime(fake_clock, os.urandom, Tasks(log), Metrics(), log)
    changes = Changes(load(), load, use, runtime)
    argocd.change("argocd-cmd-params-cm", {"server.rootpath": b"/argo"})
    argocd.change("argocd-cm", {"url": b"https://argocd.example.org/argo"})
    await changes.look()
    argocd.add_to_oidc("domainHint: x")
    await changes.look()

    assert [config.public_url for config in used] == ["https://argocd.example.org"]


async def test_a_look_at_files_that_have_not_changed_loads_nothing(
    fake_clock: FakeClock, tmp_path: Path
) -> None:
    argocd, loads = Installation(tmp_path), list[int]()
    config = Config.load(argocd.environment)

    def load() -> Config:
        loads.append(1)
        return Config.load(argocd.environment)

    async def use(_: Config) -> None:
        raise AssertionError("nothing has changed")

    log = structlog.get_logger()
    runtime = Runtime(fake_clock, os.urandom, Tasks(log), Metrics(), log)
    changes = Changes(config, load, use, runtime)
    for _ in range(3):
        await changes.look()

    assert len(loads) == 1  # what may have changed before the first look


async def test_rules_for_machines_are_followed_and_broken_ones_are_refused(
    fake_clock: FakeClock, tmp_path: Path
) -> None:
    argocd, used, file = Installation(tmp_path), list[Config](), tmp_path / "rules.yaml"
    text = (
        "issuers: [{name: ci, issuer: 'https://ci.example.org', audiences: argocd}]\n"
        "rules: [{name: first, if: 'true', token_file: /run/token}]\n"
    )

    def load() -> Config:
        return Config.load({**argocd.environment, "SIDECAR_MACHINE_RULES": str(file)})

    async def use(config: Config) -> None:
        used.append(config)

    file.write_text(text)
    log, metrics = structlog.get_logger(), Metrics()
    runtime = Runtime(fake_clock, os.urandom, Tasks(log), metrics, log)
    changes = Changes(load(), load, use, runtime)
    await changes.look()
    with capture_logs() as lines:
        file.write_text(text.replace("'true'", "'sub =='"))
        await changes.look()
        refused = await changes.check()
        file.unlink()
        await changes.look()
        assert used == []
        file.write_text(text.replace("first", "second"))
        await changes.look()

    (config,) = used
    assert config.machine_rules is not None
    assert [rule.name for rule in config.machine_rules.rules] == ["second"]
    assert refused.startswith(f"refused: SIDECAR_MACHINE_RULES cannot be used: '{file}', line 2, ")
    assert await changes.check() == "ok"
    assert [line["event"] for line in lines] == [
        "configuration_refused", "configuration_refused", "configuration_changed"
    ]  # fmt: skip
    assert "No such file" in lines[1]["faults"][0]
    assert lines[2]["changed"] == ["machine_rules"]


async def test_a_users_shared_grant_under_an_older_secretkey_is_a_miss(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, tmp_path: Path
) -> None:
    argocd = Installation(tmp_path)
    environment = {"SIDECAR_PROVIDER": "dex"}
    async with world(signing_key, fake_clock, installation=argocd, environment=environment) as here:
        await here.logged_in()
        argocd.change("argocd-secret", {"server.secretkey": b"another"})
        await here.sidecars[0].running.changes.look()
        fake_clock.advance(2)

        browser = await here.logged_in()

        assert (await browser.get(API)).status == 200
        assert here.metric("alarms_total", kind="key_unknown") == 0


async def test_a_file_of_keys_is_read_again_and_sessions_stay(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, tmp_path: Path
) -> None:
    old, new = "old:" + "A" * 43 + "=", "new:" + "B" * 42 + "A="
    keys = tmp_path / "keys"
    keys.write_text(old)
    environment = {"SIDECAR_SESSION_KEYS_FILE": str(keys)}
    argocd = Installation(tmp_path / "argocd")
    async with world(signing_key, fake_clock, installation=argocd, environment=environment) as here:
        browser = await here.logged_in()
        changes = here.sidecars[0].running.changes
        keys.write_text(f"{new},{old}")
        await changes.look()
        assert (await browser.get(API)).status == 200

        second = await here.logged_in()
        keys.write_text(new)
        await changes.look()
        assert (await second.get(API)).status == 200
        assert (await browser.get(API)).status == 401  # its cookie was signed by the old key

        keys.write_text("no key")
        await changes.look()
        assert here.metric("configuration_refused") == 1
        assert (await second.get(API)).status == 200


async def test_open_streams_end_with_the_key_of_their_cookie_and_with_no_other(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, tmp_path: Path
) -> None:
    old, new = "old:" + "A" * 43 + "=", "new:" + "B" * 42 + "A="
    keys = tmp_path / "keys"
    keys.write_text(old)
    environment = {"SIDECAR_SESSION_KEYS_FILE": str(keys)}
    argocd = Installation(tmp_path / "argocd")
    async with world(signing_key, fake_clock, installation=argocd, environment=environment) as here:
        before = await here.logged_in()
        keys.write_text(f"{new},{old}")
        await here.sidecars[0].running.changes.look()
        after = await here.logged_in()
        events = {"Accept": "text/event-stream"}
        url = f"{here.base}/api/v1/stream/applications"
        async with (
            before.http.get(url, headers=events) as ending,
            after.http.get(url, headers=events) as open_,
        ):
            assert (ending.status, open_.status) == (200, 200)
            await eventually(lambda: here.argocd.open_streams == 2)
            keys.write_text(new)
            await here.sidecars[0].running.changes.look()

            async with asyncio.timeout(10):
                await ending.content.read()
            await eventually(lambda: here.argocd.open_streams == 1)
            assert not open_.content.is_eof()


async def test_a_certificate_that_comes_later_is_served(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, tmp_path: Path
) -> None:
    argocd = Installation(tmp_path / "argocd")
    argocd.change("argocd-cmd-params-cm", {"server.insecure": b"false"})
    async with world(signing_key, fake_clock, installation=argocd) as here:
        browser = await here.browser()
        assert (await browser.get("/api/version")).status == 200
        self_signed(tmp_path, "127.0.0.1")
        pair = {name: (tmp_path / name).read_bytes() for name in ("tls.crt", "tls.key")}

        argocd.change("argocd-secret", pair)
        await here.sidecars[0].running.changes.look()

        plain = await browser.get("/api/version")
        assert (plain.status, plain.headers["Location"][:6]) == (307, "https:")
        port = here.sidecars[0].port
        url = f"https://127.0.0.1:{port}/api/version"
        async with browser.http.get(url, ssl=False) as answer:
            assert answer.status == 200

        argocd.change("argocd-secret", dict.fromkeys(pair))
        await here.sidecars[0].running.changes.look()
        assert (await browser.get("/api/version")).status == 307


async def test_a_change_takes_effect_in_less_than_ten_seconds_by_itself(
    signing_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    argocd = Installation(tmp_path)
    environment = {
        **argocd.environment,
        "SIDECAR_LISTEN": "127.0.0.1:0",
        "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
        "SIDECAR_STORE_URL": "memory://",
    }

    def load() -> Config:
        return Config.load(environment)

    argocd.change("argocd-cm", {"oidc.config": None})
    async with running(load(), load=load) as served:
        gauge = "argocd_token_refresh_takes_over_logins"
        assert served.metrics.registry.get_sample_value(gauge) == 0
        began = time.monotonic()
        argocd.oidc("issuer: https://idp.example.org\nclientID: a")

        async with asyncio.timeout(10):
            while not served.metrics.registry.get_sample_value(gauge):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

        assert time.monotonic() - began < 10


async def test_what_an_earlier_provider_needed_is_let_go_of(
    installed: Installed, fake_clock: FakeClock
) -> None:
    here = installed.world
    before = open_clients()
    for number in range(3):
        installed.argocd.log_in_at(f"http://idp{number}.example", "a", "b", url=here.base)
        await installed.changed()
    assert open_clients() == before + 3  # somebody may be at the end of a login there

    fake_clock.advance(700)
    installed.argocd.add_to_oidc("domainHint: x")
    await installed.changed()

    assert open_clients() == before


def open_clients() -> int:
    """How many HTTP clients are open in this process."""
    gc.collect()
    return sum(isinstance(each, ClientSession) and not each.closed for each in gc.get_objects())


async def test_only_the_provider_in_force_has_work_behind_requests(tmp_path: Path) -> None:
    argocd = Installation(tmp_path)
    environment = {
        **argocd.environment,
        "SIDECAR_LISTEN": "127.0.0.1:0",
        "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
        "SIDECAR_STORE_URL": "memory://",
    }

    def load() -> Config:
        return Config.load(environment)

    async with running(load(), load=load) as served:
        argocd.oidc("issuer: https://idp.example.org\nclientID: a")
        await served.changes.look()
        await asyncio.sleep(0)

        names = [task.get_name() for task in asyncio.all_tasks()]
        for name in ("background", "beats", "confirmations", "outages"):
            assert names.count(name) == 1
