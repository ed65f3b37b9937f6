import asyncio


class FakeClock:
    """A clock that tests move: time passes only by `advance` and `sleep`.

    Both of its times move together. `sleep` takes no real time: it moves the clock by its
    seconds at once, notes them in `slept`, and lets other tasks run.
    """

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.slept: list[float] = []
        self._now = start
        self._monotonic = 1000.0  # not zero: nothing may take "the machine's start" for "never"

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += seconds
