"""The control endpoint of a hostile provider: JSON in, JSON out, on a port of its own."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields, replace
from typing import Any

from aiohttp import web

from tests.hostile.answers import answer
from tests.hostile.grants import HostileSettings
from tests.hostile.provider import HostileProvider
from tests.hostile.rules import Rule

Command = Callable[[dict[str, Any]], Awaitable[Any]]
PAGE_ENTRIES = 1000
# What may be changed while it runs; the rest is said at the start.
CHANGEABLE = {each.name for each in fields(HostileSettings)} - {
    "client_id",
    "client_secret",
    "issuer",
    "path",
    "users",
}


class Control:
    """Commands by their names: `POST /<name>` with a JSON object of arguments."""

    def __init__(self, provider: HostileProvider, settings: HostileSettings) -> None:
        self._provider, self._settings = provider, settings
        self._at_start = replace(settings)

    def application(self) -> web.Application:
        """The endpoint as an application."""
        app = web.Application()
        app.router.add_post("/{command}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        commands: dict[str, Command] = {
            "state": self._state,
            "log": self._log,
            "grants": self._grants,
            "add": self._add,
            "remove": self._remove,
            "set": self._set,
            "end": self._end,
            "dismiss": self._dismiss,
            "keys": self._keys,
            "clock": self._clock,
            "away": self._away,
            "back": self._back,
            "restart": self._restart,
            "reset": self._reset,
            "tidy": self._tidy,
        }
        command = commands.get(request.match_info["command"])
        if command is None:
            return web.Response(status=404, text=f"There are: {', '.join(commands)}")
        try:
            found = await command(await request.json())
        except (TypeError, ValueError, LookupError) as error:
            return web.Response(status=400, text=f"{type(error).__name__}: {error}")
        return web.json_response(found)

    async def _state(self, _: dict[str, Any]) -> dict[str, Any]:
        settings = {k: v for k, v in asdict(self._settings).items() if k in CHANGEABLE}
        return {
            "counts": self._provider.commits.counts,
            "requests": self._provider.requests,
            "rules": self._provider.rules.state(),
            "settings": settings,
            "skew_seconds": self._provider.skew_seconds,
            "away": self._provider.is_away,
        }

    async def _log(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self._provider.commits.page(after=int(asked.get("after", 0)), limit=PAGE_ENTRIES)

    async def _grants(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        return self._provider.grants.state()

    async def _add(self, asked: dict[str, Any]) -> int:
        rule = Rule(**asked)
        if rule.answer:
            answer(rule.answer, now=0.0)  # a wrong name is told now
        replace(self._settings, **rule.rotation)
        return self._provider.rules.add(rule)

    async def _remove(self, asked: dict[str, Any]) -> None:
        if asked:
            self._provider.rules.remove(int(asked["number"]))
        else:
            self._provider.rules.clear()

    async def _set(self, asked: dict[str, Any]) -> None:
        unknown = asked.keys() - CHANGEABLE
        if unknown:
            raise LookupError(f"cannot be set: {', '.join(sorted(unknown))}")
        vars(self._settings).update(_with_tuples(asked))

    async def _end(self, asked: dict[str, Any]) -> int:
        return self._provider.grants.end_by_script(**asked)

    async def _dismiss(self, asked: dict[str, Any]) -> None:
        self._provider.grants.dismissed.add(asked["user"])

    async def _keys(self, asked: dict[str, Any]) -> None:
        self._provider.rotate_keys(keep_old=bool(asked["keep_old"]))

    async def _clock(self, asked: dict[str, Any]) -> None:
        self._provider.skew_seconds = float(asked["skew_seconds"])

    async def _away(self, asked: dict[str, Any]) -> None:
        await self._provider.go_away(abort=bool(asked.get("abort")))

    async def _back(self, _: dict[str, Any]) -> None:
        await self._provider.come_back()

    async def _restart(self, _: dict[str, Any]) -> None:
        await self._provider.restart()

    async def _tidy(self, _: dict[str, Any]) -> None:
        self._provider.grants.tidy()

    async def _reset(self, _: dict[str, Any]) -> None:
        """Honest again, and as it was set at the start; grants and the log stay."""
        self._provider.rules.clear()
        self._provider.grants.dismissed.clear()
        self._provider.skew_seconds = 0.0
        vars(self._settings).update(vars(self._at_start))
        await self._provider.come_back()


def settings_of(text: str) -> HostileSettings:
    """The provider's settings from a JSON object; an unknown name raises TypeError."""
    said: dict[str, Any] = json.loads(text)
    return HostileSettings(**_with_tuples(said))


def _with_tuples(said: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in said.items()}
