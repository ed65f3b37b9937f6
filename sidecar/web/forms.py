"""What a request brings along: a posted form, bounded in bytes and time; a query."""

import asyncio
from urllib.parse import parse_qsl

from aiohttp import web

from sidecar.errors import RequestMalformed

_MOST_SECONDS = 10.0
_MOST_FIELDS = 20


async def read_form(request: web.BaseRequest, *, most_bytes: int) -> dict[str, str]:
    """The fields of a form that each came once.

    Raises:
        RequestMalformed: it is no form, or more than is taken.
    """
    if request.content_type != "application/x-www-form-urlencoded":
        raise RequestMalformed("a body that is no form", status=400)
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            body = await _read(request, most_bytes)
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except TimeoutError as error:
        raise RequestMalformed("a form that does not come", status=408) from error
    except ValueError as error:
        raise RequestMalformed("a form that cannot be read") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise RequestMalformed("a field that came twice")
    return fields


def query_value(request: web.BaseRequest, name: str) -> str:
    """One parameter of the query; "" where it is not there once, or the query is too long."""
    query = request.raw_path.partition("?")[2]
    try:
        pairs = parse_qsl(query, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return ""
    values = [value for found, value in pairs if found == name]
    return values[0] if len(values) == 1 else ""


async def _read(request: web.BaseRequest, most_bytes: int) -> bytes:
    body = b""
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > most_bytes:
            raise RequestMalformed("a form that is too long", status=413)
    return body
