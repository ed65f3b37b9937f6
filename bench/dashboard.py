"""`python -m bench.dashboard`: a picture of the dashboard, over four minutes in which things break.

Three real replicas, thirty browsers, the hostile provider and a store that stalls and forgets,
scraped by a real Prometheus, which is asked the dashboard's own queries.
"""

import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import ClientError, ClientSession

from bench.panels import Line, Panel, named, panels, picture
from tests.chaos.people import Person
from tests.chaos.replicas import Replica
from tests.chaos.run import STRICT, Place, place
from tests.chaos.upstream import STREAM
from tests.world import free_port

PICTURE = Path(__file__).parents[1] / "docs/images/dashboard.svg"
SECONDS, SCRAPE_SECONDS = 240, 2
RATE_INTERVAL = f"{4 * SCRAPE_SECONDS}s"  # as Grafana has it
USERS, TOKEN_SECONDS, STREAMS = 10, 20, 12
_TITLE = "The dashboard, over four minutes: a slow provider, a provider that is away, a store that \
stalls, a replica that is killed, a store that loses its data, two people whose grants are ended"


async def main() -> None:
    """Run it, and write the picture."""
    if shutil.which("prometheus") is None:
        sys.exit("prometheus is not here: apt-get install prometheus")
    with TemporaryDirectory(prefix="atr-dashboard-") as folder:
        logs = Path(folder)
        async with (
            place(STRICT, 1, logs=logs, users=USERS, token_seconds=TOKEN_SECONDS) as here,
            prometheus(here.fleet.replicas, logs) as address,
        ):
            begins = time.time()
            await _use_and_break(here)
            ends = time.time()
            shown = [
                (panel, await _asked(address, panel, begins, ends))
                for panel in panels(rate_interval=RATE_INTERVAL)
            ]
    PICTURE.write_text(picture(shown, begins=begins, ends=ends, title=_TITLE))
    print(PICTURE)


async def _use_and_break(here: Place) -> None:
    async with asyncio.TaskGroup() as beside:
        streams = [
            beside.create_task(_stream(person, here.fleet.replicas[number % 3]))
            for number, person in enumerate(here.crowd.people[:STREAMS])
        ]
        using = beside.create_task(here.crowd.work())
        await _story(here)
        here.crowd.over = True
        for task in (using, *streams):
            task.cancel()


async def _story(here: Place) -> None:
    began_at = time.monotonic()

    async def until(second: float) -> None:
        await asyncio.sleep(max(0.0, began_at + second - time.monotonic()))

    await until(50)
    slow = await here.hostile.add(delay_before=(0.5, 2.0), seed=2)
    await until(70)
    await here.hostile.remove(*slow)
    await until(90)
    await here.hostile.go_away(abort=True)
    await until(108)
    await here.hostile.come_back()
    await until(130)
    await here.store.stall(6)
    await until(160)
    await here.fleet.replicas[2].kill()
    await until(180)
    await here.store.flush()
    await until(205)
    for person in here.crowd.people[:2]:
        await here.hostile.end(user=person.name)
    await until(SECONDS)


async def _stream(person: Person, replica: Replica) -> None:
    """An event stream that is opened anew whenever it ends, as the UI does it."""
    while True:
        with suppress(ClientError, ConnectionError, TimeoutError):
            url, as_events = replica.base + STREAM.decode(), {"Accept": "text/event-stream"}
            async with person.browser.http.get(url, headers=as_events) as answer:
                await answer.read()
        await asyncio.sleep(0.5)


@asynccontextmanager
async def prometheus(replicas: Sequence[Replica], folder: Path) -> AsyncIterator[str]:
    """A Prometheus that scrapes them; its address."""
    listen = f"127.0.0.1:{free_port()}"
    targets = [
        {
            "targets": [each.admin.removeprefix("http://")],
            "labels": {"namespace": "argocd", "pod": each.name},
        }
        for each in replicas
    ]
    file = folder / "prometheus.json"  # JSON is YAML
    every = f"{SCRAPE_SECONDS}s"
    job = {"job_name": "argocd", "static_configs": targets}
    wanted = {
        "global": {"scrape_interval": every, "scrape_timeout": every},
        "scrape_configs": [job],
    }
    file.write_text(json.dumps(wanted))
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={listen}",
        "--log.level=error",
    )
    try:
        await _until_ready(f"http://{listen}")
        yield f"http://{listen}"
    finally:
        process.terminate()
        await process.wait()


async def _until_ready(address: str) -> None:
    async with ClientSession() as http, asyncio.timeout(30):
        while True:
            with suppress(ClientError):
                async with http.get(f"{address}/-/ready") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)


async def _asked(address: str, panel: Panel, begins: float, ends: float) -> list[Line]:
    found, every = [], f"{SCRAPE_SECONDS}s"
    async with ClientSession() as http:
        for query, form in panel.queries:
            asked = {"query": query, "start": f"{begins}", "end": f"{ends}", "step": every}
            async with http.get(f"{address}/api/v1/query_range", params=asked) as answer:
                said = await answer.json()
            if said["status"] != "success":
                raise RuntimeError(f"{panel.title}: {said['error']}")
            for each in said["data"]["result"]:
                points = [(float(at), float(v)) for at, v in each["values"] if v != "NaN"]
                if points:
                    found.append(Line(named(form, each["metric"]), points))
    return found


if __name__ == "__main__":
    asyncio.run(main())
