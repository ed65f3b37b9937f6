"""Argo CD's settings for its UI, which up to 3.0 would start a login past the sidecar."""

import json


def without_pkce(body: bytes) -> bytes:
    """The settings with the UI's own PKCE flow switched off; as they came if it is not on."""
    try:
        settings = json.loads(body)
        oidc = settings["oidcConfig"]
        if not oidc["enablePKCEAuthentication"]:
            return body
    except (ValueError, KeyError, TypeError, RecursionError):
        return body
    oidc["enablePKCEAuthentication"] = False
    return json.dumps(settings, separators=(",", ":")).encode()
