"""A JSON document of an issuer's, fetched once and bounded."""

import json
from typing import Any

from aiohttp import ClientSession, ClientTimeout

from sidecar.adapters.provider_http import answer, gives_up_tls, read_bounded
from sidecar.adapters.provider_metadata import no_json
from sidecar.errors import ProviderUnavailable


async def json_document(
    http: ClientSession, url: str, name: str, *, seconds: float, proxy: str | None
) -> Any:
    """What is at an address, which is the provider's document of this name.

    Raises:
        ProviderUnavailable: it is not there, is no JSON, or came without TLS in the end.
    """
    request = http.get(
        url,
        headers={"Accept": "application/json"},
        timeout=ClientTimeout(total=seconds),
        proxy=proxy,
    )
    async with answer(request) as response:
        body = await read_bounded(response)
    if gives_up_tls(response):
        raise ProviderUnavailable(f"the provider's {name} is redirected from https to http")
    if response.status != 200:
        raise ProviderUnavailable(f"the provider's {name} answered {response.status}")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProviderUnavailable(no_json(body, name)) from error
