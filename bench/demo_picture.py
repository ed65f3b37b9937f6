"""`python -m bench.demo_picture`: the README's animation, from `sidecar demo` in a real browser.

Two windows side by side, signed in at once: Argo CD alone, and behind the sidecar. What is typed in
one of them is typed in both.
"""

import asyncio
import base64
import io
import re
import signal
import sys
import time
from bisect import bisect
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, Page
from playwright.async_api import Error as LeftPage

from tests.system.test_browser import chromium, sign_in

IMAGES = Path(__file__).parents[1] / "docs/images"
STAGE = Path(__file__).with_name("demo_stage.html")
# From a while before the token ends until the window without a sidecar has stood at the login.
BEGINS_AT_SECONDS_LEFT, SECONDS, EVERY_SECONDS = 14, 24.0, 0.4
STILL_AT_SECONDS = 19.0
FASTER = 2
LAST_MS = 1200
WORK = "Scale payments to 6 replicas, and tell the others why"
SCALE = 1.5
WIDTH, HEIGHT = 756, 388
# A window's pixels are the stage's: nothing is drawn twice as large or small.
WINDOW_SCALE = 420 * SCALE / WIDTH


@dataclass(frozen=True, slots=True)
class Moment:
    """Both windows `at` so many seconds, as PNG, and what is to be said of them."""

    at: float
    alone: bytes
    sidecar: bytes
    thrown_out: bool
    renewals: int


async def main() -> None:
    """Run the demo, and write the animations and the still picture."""
    async with demo() as (address, alone), chromium() as browser:
        moments = await _recorded(browser, address, alone)
        wide = await _staged(browser, moments, width=884, narrow=False)
        narrow = await _staged(browser, moments, width=448, narrow=True)
    instants = [moment.at for moment in moments]
    _animation(wide, instants, IMAGES / "demo.webp")
    _animation(narrow, instants, IMAGES / "demo-narrow.webp")
    still = wide[bisect(instants, STILL_AT_SECONDS)]
    still.quantize(256).save(IMAGES / "demo.png", optimize=True)


@asynccontextmanager
async def demo() -> AsyncIterator[tuple[str, str]]:
    """Where `sidecar demo` has the sidecar, and where Argo CD alone, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", "demo", stdout=asyncio.subprocess.PIPE
    )
    said = process.stdout or asyncio.StreamReader()
    try:
        async with asyncio.timeout(60):
            shown = await said.readuntil(b"Ctrl-C")
        address, alone = re.findall(r"http://\S+", shown.decode())
        yield address, alone
    finally:
        process.send_signal(signal.SIGINT)
        await process.communicate()


async def _recorded(browser: Browser, address: str, alone: str) -> list[Moment]:
    windows = [await _window(browser) for _ in range(2)]
    await asyncio.gather(sign_in(windows[0], alone), sign_in(windows[1], address))
    await windows[0].wait_for_function(
        f"document.querySelector('#countdown').textContent == '{BEGINS_AT_SECONDS_LEFT}'"
    )
    began_at, moments = time.monotonic(), []
    while (at := time.monotonic() - began_at) < SECONDS:
        for window in windows:
            await _typed(window, WORK[: int(len(WORK) * at / SECONDS)])
        moments.append(await _moment(at, *windows, home=alone))
        await asyncio.sleep(began_at + at + EVERY_SECONDS - time.monotonic())
    return moments


async def _window(browser: Browser) -> Page:
    """A window of its own: a tab in the background draws nothing."""
    return await browser.new_page(
        viewport={"width": WIDTH, "height": HEIGHT},
        device_scale_factor=WINDOW_SCALE,
        color_scheme="light",
    )


async def _typed(window: Page, text: str) -> None:
    """Have `text` in the field, if the page is still there."""
    with suppress(LeftPage):  # it may be left at this very moment
        await window.evaluate(
            "text => document.getElementById('work')?.setRangeText(text, 0, 1e6, 'end')", text
        )


async def _moment(at: float, alone: Page, sidecar: Page, *, home: str) -> Moment:
    while True:
        shown = alone.url, await sidecar.inner_text("#renewals")
        await alone.wait_for_load_state()
        pictures = await asyncio.gather(alone.screenshot(), sidecar.screenshot())
        if shown == (alone.url, await sidecar.inner_text("#renewals")):
            thrown_out = not alone.url.startswith(home)
            return Moment(at, *pictures, thrown_out=thrown_out, renewals=int(shown[1]))


async def _staged(
    browser: Browser, moments: Sequence[Moment], *, width: int, narrow: bool
) -> list[Image.Image]:
    """Each moment on the stage."""
    context = await browser.new_context(
        viewport={"width": width, "height": 100}, device_scale_factor=SCALE
    )
    page = await context.new_page()
    await page.set_content(STAGE.read_text(encoding="utf-8"))
    await page.evaluate("narrow => document.body.className = narrow ? 'narrow' : ''", narrow)
    frames = []
    for moment in moments:
        await page.evaluate(
            """async shown => {
                for (const name of ["alone", "sidecar"]) {
                    const image = document.getElementById(name);
                    image.src = "data:image/png;base64," + shown[name];
                    await image.decode();
                    document.getElementById(name + "-says").textContent = shown[name + "Says"];
                }
                document.getElementById("alone-says").className = shown.out ? "out" : "";
            }""",
            _shown(moment),
        )
        frames.append(Image.open(io.BytesIO(await page.screenshot(full_page=True))).convert("RGB"))
    await context.close()
    return frames


def _shown(moment: Moment) -> dict[str, str | bool]:
    times = {0: "", 1: ", renewed once", 2: ", renewed twice"}
    renewed = times.get(moment.renewals, f", renewed {moment.renewals} times")
    return {
        "alone": base64.b64encode(moment.alone).decode(),
        "sidecar": base64.b64encode(moment.sidecar).decode(),
        "aloneSays": "Thrown out: what was typed is gone" if moment.thrown_out else "Signed in",
        "sidecarSays": f"Signed in{renewed}",
        "out": moment.thrown_out,
    }


def _animation(frames: Sequence[Image.Image], instants: Sequence[float], path: Path) -> None:
    """Write them as a loop that loses no pixel."""
    shown_ms = [round((end - begin) / FASTER * 1000) for begin, end in pairwise(instants)]
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=[*shown_ms, LAST_MS],
        loop=0,
        lossless=True,
        method=6,
        minimize_size=True,
    )
    print(path, f"{path.stat().st_size / 1024:.0f} KiB, {len(frames)} frames")


if __name__ == "__main__":
    asyncio.run(main())
