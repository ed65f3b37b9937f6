"""Ways to break observed logins: Dex, the port that stands in for it, and who has its address."""

from aiohttp import web

from sidecar.doctor.findings import Finding, Level
from sidecar.doctor.run import examine
from tests.doctor.test_upstream import server
from tests.fakes.clock import FakeClock
from tests.observed.place import Place, argocd_place, devtron_place
from tests.world import free_port

OURS = ("dex", "upstream", "outside")


async def found(place: Place, *, outside: bool = False, **changes: str) -> dict[str, Finding]:
    """What the doctor says beside the sidecar that runs, of the parts that are looked at here."""
    admin = place.sidecars[0].running.admin
    variables = {
        **place.environment,
        "SIDECAR_ADMIN_LISTEN": f"{admin[0]}:{admin[1]}",
        **changes,
    }
    findings = await examine(variables, place.clock, from_outside=outside)
    return {
        each.id: each
        for each in findings
        if each.part in OURS and not each.id.endswith(("clock", "exposed"))
    }


def complaints(findings: dict[str, Finding]) -> set[str]:
    return {name for name, each in findings.items() if each.level is not Level.OK}


async def test_doctor_finds_nothing_wrong_once_a_login_has_passed(fake_clock: FakeClock) -> None:
    async with devtron_place(fake_clock) as place:
        await place.logged_in()

        findings = await found(place)

        assert not complaints(findings)
        assert "Devtron has the sidecar as its Dex" in findings["dex.upstream"].what


async def test_doctor_finds_nothing_wrong_with_argo_cd_either(fake_clock: FakeClock) -> None:
    async with argocd_place(fake_clock) as place:
        await place.logged_in()

        assert not complaints(await found(place))


async def test_doctor_says_that_no_token_answer_was_ever_seen(fake_clock: FakeClock) -> None:
    async with devtron_place(fake_clock) as place:
        findings = await found(place)

        assert complaints(findings) == {"dex.logins"}
        assert "no token answer has ever passed" in findings["dex.logins"].what
        assert "DEX_HOST and DEX_PORT" in findings["dex.logins"].mend


async def test_doctor_finds_an_upstream_whose_dex_address_does_not_point_here(
    fake_clock: FakeClock,
) -> None:
    for make, mend in ((devtron_place, "DEX_HOST"), (argocd_place, "server.dex.server")):
        async with make(fake_clock) as place:
            place.upstream_asks(place.environment["SIDECAR_DEX_UPSTREAM"])
            await place.settled()

            findings = await found(place)

            assert complaints(findings) == {"dex.upstream", "dex.logins"}
            assert findings["dex.upstream"].level is Level.FAULT
            assert "nothing came to port" in findings["dex.upstream"].what
            assert mend in findings["dex.upstream"].mend


async def test_doctor_says_of_replicas_that_another_may_have_been_asked(
    fake_clock: FakeClock,
) -> None:
    async with devtron_place(fake_clock) as place:
        place.upstream_asks(place.environment["SIDECAR_DEX_UPSTREAM"])
        port = place.environment["SIDECAR_DEX_LISTEN"].rpartition(":")[2]

        findings = await found(place, SIDECAR_DEX_LISTEN=f":{port}")

        assert findings["dex.upstream"].level is Level.WARNING
        assert "another's" in findings["dex.upstream"].mend


async def test_doctor_finds_a_dex_that_is_away(fake_clock: FakeClock) -> None:
    async with devtron_place(fake_clock) as place:
        findings = await found(place, SIDECAR_DEX_UPSTREAM=f"http://127.0.0.1:{free_port()}")

        assert "dex.reach" in complaints(findings)
        assert "cannot be reached" in findings["dex.reach"].what
        assert "SIDECAR_DEX_UPSTREAM" in findings["dex.reach"].mend


async def test_doctor_finds_what_is_no_dex(fake_clock: FakeClock) -> None:
    async with (
        devtron_place(fake_clock) as place,
        server(lambda _: web.Response(text="Welcome to nginx!")) as address,
    ):
        findings = await found(place, SIDECAR_DEX_UPSTREAM=address)

        assert "dex.reach" in complaints(findings)
        assert "no metadata" in findings["dex.reach"].what


async def test_doctor_finds_a_dex_with_another_issuer(fake_clock: FakeClock) -> None:
    async with devtron_place(fake_clock) as place:
        place.dex.settings.issuer = "https://devtron.example.org/orchestrator/api/dex"

        findings = await found(place)

        assert "dex.issuer" in complaints(findings)
        assert "https://devtron.example.org" in findings["dex.issuer"].what


async def test_doctor_finds_that_the_sidecars_port_for_dex_is_not_there(
    fake_clock: FakeClock,
) -> None:
    async with devtron_place(fake_clock) as place:
        findings = await found(place, SIDECAR_DEX_LISTEN=f"127.0.0.1:{free_port()}")

        assert "dex.port" in complaints(findings)
        assert "cannot be reached" in findings["dex.port"].what


async def test_doctor_says_when_it_cannot_see_what_was_counted(fake_clock: FakeClock) -> None:
    async with devtron_place(fake_clock) as place:
        findings = await found(place, SIDECAR_ADMIN_LISTEN=f"127.0.0.1:{free_port()}")

        assert complaints(findings) == {"dex.upstream", "dex.logins"}
        assert "cannot be seen" in findings["dex.upstream"].what


async def test_doctor_finds_an_upstream_without_a_dex(fake_clock: FakeClock) -> None:
    async with argocd_place(fake_clock) as place:
        place.argocd.settings.dex_server = ""

        findings = await found(place)

        assert findings["dex.upstream"].level is Level.FAULT
        assert "passes nothing on to a Dex" in findings["dex.upstream"].what


async def test_doctor_finds_what_is_not_devtron(fake_clock: FakeClock) -> None:
    async with devtron_place(fake_clock) as place:
        away = await found(place, SIDECAR_UPSTREAM=f"http://127.0.0.1:{free_port()}")
        async with server(lambda _: web.Response(text="Welcome to nginx!")) as address:
            other = await found(place, SIDECAR_UPSTREAM=address)

        assert "cannot be reached" in away["upstream.reach"].what
        assert "is not Devtron" in other["upstream.reach"].what
        assert "devtron-service" in other["upstream.reach"].mend


async def test_doctor_finds_a_public_url_at_which_devtron_is_not(fake_clock: FakeClock) -> None:
    async with devtron_place(fake_clock) as place:
        findings = await found(place, SIDECAR_PUBLIC_URL="http://127.0.0.1:9/devtron")

        assert "upstream.url" in complaints(findings)
        assert "/orchestrator" in findings["upstream.url"].mend


async def test_doctor_sees_from_outside_whether_callbacks_come_here(fake_clock: FakeClock) -> None:
    for make in (devtron_place, argocd_place):
        async with make(fake_clock) as place:
            here = await found(place, outside=True)
            async with server(lambda _: web.Response(status=404, text="404")) as address:
                base = place.base.replace(f"http://127.0.0.1:{place.sidecars[0].port}", address)
                past = await found(place, outside=True, SIDECAR_PUBLIC_URL=base)

        assert here["outside.reach"].level is Level.OK
        assert past["outside.reach"].level is Level.FAULT
        assert "Callbacks go past the sidecar" in past["outside.reach"].why
