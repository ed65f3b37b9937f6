"""Debian's nginx with the settings that `deploy/ingress/nginx` documents, to the letter."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.proxy.certificates import Pair
from tests.proxy.nginx import NGINX
from tests.proxy.nginx import required as nginx_required

DOCUMENTED = Path(__file__).parents[2] / "deploy/ingress/nginx"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
HOST = "argocd.example.org"
ENDS, AGAIN, PASSES = "tls-ends", "tls-again", "tls-passes"
WAYS = (ENDS, AGAIN, PASSES)

# What nginx does unasked is made short, so that what the documented settings change is soon seen.
_HTTP = """
http {{
    access_log off;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_read_timeout 600ms;
    proxy_send_timeout 600ms;
    {documented}
}}
"""
_STREAM = """
stream {{
    proxy_timeout 600ms;
    {documented}
}}
"""
_MAIN = """
{load}
daemon off;
master_process off;
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 1024; }}
{block}
"""
# By what the sidecar asks for, and no Ingress does by itself.
_ASKED_FOR = re.compile(
    r"^ *(proxy_(read_|send_)?timeout|proxy_buffer\w*|proxy_request_buffering"
    r"|large_client_header_buffers|proxy_set_header (Upgrade|Connection)) .*\n",
    re.MULTILINE,
)


def required() -> None:
    """Skip where there is no nginx with its stream module; in CI, which installs both, fail."""
    nginx_required()
    if STREAM_MODULE.exists():
        return
    reason = "nginx has no stream module here (Debian 12: apt-get install libnginx-mod-stream)"
    if os.environ.get("REQUIRE_NGINX"):
        pytest.fail(reason)
    pytest.skip(reason)


@asynccontextmanager
async def nginx(
    folder: Path, way: str, *, port: int, sidecar: int, pair: Pair, authority: str, bare: bool
) -> AsyncIterator[None]:
    """An nginx on `port` before a sidecar; `bare` is without what the settings are there for."""
    file = _write(folder, way, port, sidecar, pair, authority, bare=bare)
    process = await asyncio.create_subprocess_exec(
        NGINX, "-p", folder, "-c", file, "-e", folder / "error.log"
    )
    try:
        await _listens(process, port, folder / "error.log")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _write(
    folder: Path, way: str, port: int, sidecar: int, pair: Pair, authority: str, *, bare: bool
) -> Path:
    folder.mkdir()
    proxy = (DOCUMENTED / "argocd-proxy.conf").read_text()
    documented = (DOCUMENTED / f"{way}.conf").read_text()
    if bare:
        proxy, documented = _ASKED_FOR.sub("", proxy), _ASKED_FOR.sub("", documented)
    (folder / "argocd-proxy.conf").write_text(proxy)
    here = {
        "listen 443": f"listen 127.0.0.1:{port}",
        "argocd-server.argocd.svc:443": f"127.0.0.1:{sidecar}",
        "argocd-server.argocd.svc:80": f"127.0.0.1:{sidecar}",
        "/etc/nginx/tls/tls.crt": pair[0],
        "/etc/nginx/tls/tls.key": pair[1],
        "/etc/nginx/tls/argocd-ca.crt": authority,
        "/etc/nginx/argocd-proxy.conf": str(folder / "argocd-proxy.conf"),
    }
    file = folder / "nginx.conf"
    file.write_text(_configuration(folder, way, _moved(documented, here)))
    return file


def _moved(text: str, places: Mapping[str, str]) -> str:
    for documented, here in places.items():
        text = text.replace(documented, here)
    assert "/etc/" not in text
    assert ".svc:" not in text
    return text


def _configuration(folder: Path, way: str, documented: str) -> str:
    block = (_STREAM if way == PASSES else _HTTP).format(folder=folder, documented=documented)
    load = f"load_module {STREAM_MODULE};" if way == PASSES else ""
    return _MAIN.format(folder=folder, load=load, block=block)


async def _listens(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    async with asyncio.timeout(20):
        while True:
            if process.returncode is not None:
                raise AssertionError(f"nginx ended: {_said(log)}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return


def _said(log: Path) -> str:
    return log.read_text()
