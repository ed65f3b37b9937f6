"""nginx, haproxy, and Apache with mod_auth_openidc, as Debian has them, each with a file of ours.

All listen on loopback, log nothing for each request, keep their connections, and put the same
`argocd.token` into the Cookie field of what goes up; the upstream wants to see it.
"""

import asyncio
import os
import pwd
import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import ClientSession, CookieJar
from yarl import URL

from bench.serving import HOST, ROOT, START_SECONDS, STOP_SECONDS
from bench.tokens import CLIENT_ID
from sidecar.demo.valkey import DIE_WITH_PARENT, ended
from tests.world import free_port

_MODULES = Path("/usr/lib/apache2/modules")
_LOADED = ("mpm_event", "authn_core", "authz_core", "authz_user", "headers", "proxy", "proxy_http")
_KEPT = 256  # idle connections to the upstream; more than any load has
_BODIES = {"applications": 1024, "1k": 1024, "100k": 100 * 1024}
_SESSION = "mod_auth_openidc_session"
PROGRAMS = {
    "nginx": ("nginx", "nginx-light"),
    "haproxy": ("haproxy", "haproxy"),
    "mod_auth_openidc": ("apache2", "apache2 libapache2-mod-auth-openidc"),
    "wrk": ("wrk", "wrk"),
}


def missing(names: Iterable[str]) -> list[str]:
    """Those of the programs that are not installed."""
    return [name for name in names if not _installed(name)]


def how_to_install(names: Iterable[str]) -> str:
    """What installs them on Debian."""
    return "apt-get install " + " ".join(PROGRAMS[name][1] for name in names)


def _installed(name: str) -> bool:
    if name == "mod_auth_openidc" and not (_MODULES / "mod_auth_openidc.so").exists():
        return False
    return _program(name) is not None


def _program(name: str) -> str | None:
    return shutil.which(PROGRAMS[name][0], path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin")


@asynccontextmanager
async def started(name: str, arguments: Sequence[str], port: int, core: int) -> AsyncIterator[int]:
    """The process id of a server that listens, on one core, for as long as the block."""
    program = _program(name)
    if program is None:
        raise RuntimeError(f"{name} is missing: {how_to_install([name])}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid())),
        *("/usr/bin/taskset", "-c", str(core), program, *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await _until_it_listens(name, process, port)
        yield process.pid
    finally:
        await _stop(process)


async def _until_it_listens(name: str, process: asyncio.subprocess.Process, port: int) -> None:
    async with asyncio.timeout(START_SECONDS):
        while process.returncode is None:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, port)
                writer.close()
                return
            await asyncio.sleep(0.02)
    raise RuntimeError(f"{name} ended at once; it has said why")


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    await ended(process, seconds=STOP_SECONDS)


@asynccontextmanager
async def upstream(folder: Path, core: int) -> AsyncIterator[tuple[int, int]]:
    """The port and the process of an nginx that answers who brings a token: 1 KiB, or 100."""
    port, root = free_port(), folder / "upstream"
    files = root / "api" / "v1"
    files.mkdir(parents=True)
    for name, length in _BODIES.items():
        (files / name).write_bytes(b"x" * length)
    server = f"""
        map "$http_cookie$http_authorization" $known {{
            default 0;
            "~^argocd\\.token=ey" 1;
            "~^Bearer ey[^.]*\\.bench\\." 1;
        }}
        server {{
            listen {HOST}:{port} backlog=4096;
            root {root};
            default_type application/json;
            open_file_cache max=10 inactive=1h;
            open_file_cache_valid 1h;
            location = /-/status {{ stub_status; }}
            location / {{ if ($known = 0) {{ return 401; }} }}
        }}"""
    async with _nginx(root, server, port, core) as pid:
        yield port, pid


@asynccontextmanager
async def nginx(folder: Path, up: int, token: str, core: int) -> AsyncIterator[tuple[int, int]]:
    """The port and the process of an nginx that passes all on."""
    port, root = free_port(), folder / "nginx"
    root.mkdir()
    server = f"""
        upstream argocd {{ server {HOST}:{up}; keepalive {_KEPT}; keepalive_requests 1000000000; }}
        server {{
            listen {HOST}:{port} backlog=4096;
            location / {{
                proxy_pass http://argocd;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                proxy_set_header Host $http_host;
                proxy_set_header Cookie "argocd.token={token}";
                proxy_buffers 16 16k;
                proxy_max_temp_file_size 0;
            }}
        }}"""
    async with _nginx(root, server, port, core) as pid:
        yield port, pid


@asynccontextmanager
async def _nginx(root: Path, server: str, port: int, core: int) -> AsyncIterator[int]:
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{name}_temp_path {root}/{name}_temp;" for name in places)
    user = f"user {pwd.getpwuid(0).pw_name};" if os.getuid() == 0 else ""
    file = root / "nginx.conf"
    file.write_text(
        f"""{user}
        daemon off; worker_processes 1; worker_rlimit_nofile 8192;
        pid {root}/pid; error_log stderr error;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; sendfile on; tcp_nodelay on;
            keepalive_requests 1000000000; keepalive_timeout 1h;
            large_client_header_buffers 8 32k;
            {temporary}
            {server}
        }}"""
    )
    async with started("nginx", ["-e", "stderr", "-c", str(file)], port, core) as pid:
        yield pid


@asynccontextmanager
async def haproxy(folder: Path, up: int, token: str, core: int) -> AsyncIterator[tuple[int, int]]:
    """The port and the process of an haproxy that passes all on."""
    port, file, value = free_port(), folder / "haproxy.cfg", folder / "cookie"
    value.write_text(f"any argocd.token={token}\n")  # a line of its own file may not be so long
    file.write_text(
        f"""
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    option http-keep-alive
    http-reuse always
frontend public
    bind {HOST}:{port}
    default_backend argocd
backend argocd
    http-request set-header Cookie %[str(any),map({value})]
    server argocd {HOST}:{up} pool-max-conn {_KEPT}
"""
    )
    async with started("haproxy", ["-q", "-db", "-f", str(file)], port, core) as pid:
        yield port, pid


@asynccontextmanager
async def mod_auth_openidc(
    folder: Path, up: int, issuer: str, store_port: int, core: int
) -> AsyncIterator[tuple[int, int]]:
    """The port and the process of an Apache that logs people in and keeps sessions in the store."""
    port, root = free_port(), folder / "apache"
    root.mkdir()
    modules = "\n".join(
        f"LoadModule {name}_module {_MODULES}/mod_{name}.so" for name in (*_LOADED, "auth_openidc")
    )
    file = root / "apache2.conf"
    file.write_text(
        f"""
ServerRoot {root}
PidFile {root}/pid
DefaultRuntimeDir {root}
Listen {HOST}:{port}
ServerName {HOST}
ErrorLog {root}/error.log
LogLevel error
{modules}
{"User www-data" if os.getuid() == 0 else ""}
{"Group www-data" if os.getuid() == 0 else ""}
StartServers 2
# A child that has more connections than threads closes some: each can serve all of them.
MinSpareThreads 1
MaxSpareThreads 128
ThreadLimit 64
ThreadsPerChild 64
MaxRequestWorkers 128
MaxConnectionsPerChild 0
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 600
OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration
OIDCClientID {CLIENT_ID}
OIDCClientSecret demo-secret
OIDCRedirectURI http://{HOST}:{port}/callback
OIDCCryptoPassphrase 0123456789abcdef0123456789abcdef
OIDCResponseType code
OIDCScope "openid"
OIDCSessionType server-cache
OIDCSessionInactivityTimeout 28800
OIDCCacheType redis
OIDCRedisCacheServer {HOST}:{store_port}
OIDCPassIDTokenAs serialized
OIDCPassClaimsAs environment
<Location />
    AuthType openid-connect
    Require valid-user
    RequestHeader set Cookie "argocd.token=%{{OIDC_id_token}}e"
    ProxyPass http://{HOST}:{up}/
</Location>
"""
    )
    arguments = ["-DFOREGROUND", "-f", str(file)]
    async with started("mod_auth_openidc", arguments, port, core) as pid:
        yield port, pid


async def logged_in(port: int, path: str) -> str:
    """The Cookie field of a browser that mod_auth_openidc has logged in at the provider."""
    base = URL(f"http://{HOST}:{port}")
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as http:
        async with http.get(base.join(URL(path))) as answer:
            if answer.status != 200:
                raise RuntimeError(f"mod_auth_openidc's login ends with {answer.status}")
        found = http.cookie_jar.filter_cookies(base)
        return f"{_SESSION}={found[_SESSION].value}"
