"""Debian's nginx as a plain reverse proxy, with a socket for each of many upstreams."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

NGINX = Path("/usr/sbin/nginx")
VERSION = "1.22"  # another one reads some requests in another way

# What the sidecar holds, too: one version of HTTP up, targets and bodies as they come. The
# times end what waits for more, as it then waits in the sidecar.
_CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    merge_slashes off;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    large_client_header_buffers 4 64k;
    client_header_timeout 500ms;
    client_body_timeout 500ms;
    keepalive_timeout 500ms;
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_buffering off;
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
    {servers}
}}
"""
_SERVER = """
    server {{
        listen unix:{folder}/{i}.in;
        location / {{ proxy_pass http://unix:{folder}/{i}.up:; }}
    }}
"""


def required() -> None:
    """Skip where there is no nginx of this version; in CI, which installs it, fail."""
    if NGINX.exists():
        said = subprocess.run([NGINX, "-v"], check=True, capture_output=True, text=True).stderr
        if f"/{VERSION}." in said:
            return
    reason = f"there is no {NGINX} {VERSION} (Debian 12: apt-get install nginx-light)"
    if os.environ.get("REQUIRE_NGINX"):
        pytest.fail(reason)
    pytest.skip(reason)


@asynccontextmanager
async def nginx(folder: Path, count: int) -> AsyncIterator[None]:
    """A running nginx: what comes in on `{i}.in` goes on to `{i}.up`, both Unix sockets."""
    servers = "".join(_SERVER.format(folder=folder, i=i) for i in range(count))
    file = folder / "nginx.conf"
    file.write_text(_CONFIGURATION.format(folder=folder, servers=servers))
    process = await asyncio.create_subprocess_exec(
        NGINX, "-p", folder, "-c", file, "-e", folder / "error.log"
    )
    try:
        await _listens(process, folder / f"{count - 1}.in")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _listens(process: asyncio.subprocess.Process, last: Path) -> None:
    """Until a connection is taken; nginx opens its sockets in their order."""
    async with asyncio.timeout(20):
        while True:
            if process.returncode is not None:
                raise AssertionError(f"nginx ended: {last.with_name('error.log').read_text()}")
            try:
                _, writer = await asyncio.open_unix_connection(last)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return
