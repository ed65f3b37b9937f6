"""The demo's provider at two addresses, with the metadata that real ones were measured to have."""

from enum import StrEnum

from aiohttp import web

from sidecar.demo.oauth import discovery_document
from sidecar.demo.provider import DemoProvider


class Names(StrEnum):
    """Which address the endpoints have, in metadata that were fetched through the internal one."""

    PUBLIC = "all public, as Dex 2.45"
    EACH = "each where it belongs, as Keycloak 26 with a dynamic backchannel"
    BY_HOST = "all by the request's Host, as oidc-provider 9"


class SplitProvider(DemoProvider):
    """Its issuer is public, whatever the request's Host."""

    names = Names.PUBLIC

    async def _discovery(self, request: web.Request) -> web.Response:
        public = discovery_document(self.issuer, revocation_endpoint=True)
        here = discovery_document(
            f"http://{request.host}{self.settings.path}", revocation_endpoint=True
        )
        public["end_session_endpoint"] = f"{self.issuer}/logout"
        here["end_session_endpoint"] = f"http://{request.host}{self.settings.path}/logout"
        browsers = ("authorization_endpoint", "end_session_endpoint")
        inside = {
            Names.PUBLIC: (),
            Names.EACH: [n for n in here if n.endswith(("endpoint", "_uri")) and n not in browsers],
            Names.BY_HOST: [n for n in here if n.endswith(("endpoint", "_uri"))],
        }[self.names]
        return web.json_response({**public, **{name: here[name] for name in inside}})
