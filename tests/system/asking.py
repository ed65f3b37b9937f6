"""What a person's browser asks again and again while a story goes on."""

import asyncio

from aiohttp import ClientSession

from tests.world import system_now


class Asking:
    """Asks at `address`, by the person's own cookies."""

    address: str
    http: ClientSession

    async def load(self) -> int:
        """The status of an API request."""
        async with self.http.get(f"{self.address}/api/v1/applications") as answer:
            await answer.read()
            return answer.status

    async def until_token_ends(self) -> None:
        """Wait until the ID token that Argo CD saw last has ended."""
        async with self.http.get(f"{self.address}/api/v1/demo/token") as answer:
            token = await answer.json()
        await asyncio.sleep(max(0.0, token["exp"] - system_now()) + 0.05)
