"""Discovery metadata (OpenID Connect Discovery 1.0 section 3), as far as it is used."""

from typing import Any

from sidecar.errors import ProviderUnavailable
from sidecar.ports import ProviderEndpoints


def read_metadata(document: Any, issuer: str) -> ProviderEndpoints:
    """The endpoints in a discovery document.

    Read by hand: Authlib's check refuses http inside a cluster, and documents that leave out
    what nobody needs.
    """
    if not isinstance(document, dict):
        raise ProviderUnavailable("the provider's discovery is not a JSON object")
    if document.get("issuer") != issuer:
        raise ProviderUnavailable(
            f"the provider's discovery names another issuer, {_short(document.get('issuer'))}. "
            "SIDECAR_ISSUER, or issuer in oidc.config, must be equal to it to the letter "
            "(OpenID Connect Discovery 4.3)"
        )
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if not _text(document, name).startswith(("https://", "http://")):
            raise ProviderUnavailable(f"the provider's discovery has no usable {name}")
    methods = _texts(document, "token_endpoint_auth_methods_supported")
    return ProviderEndpoints(
        issuer=issuer,
        authorization_endpoint=_text(document, "authorization_endpoint"),
        token_endpoint=_text(document, "token_endpoint"),
        jwks_uri=_text(document, "jwks_uri"),
        revocation_endpoint=_text(document, "revocation_endpoint"),
        end_session_endpoint=_text(document, "end_session_endpoint"),
        # Left out, it means Basic (OpenID Connect Discovery section 3).
        token_endpoint_auth_methods=methods or ("client_secret_basic",),
        token_endpoint_auth_algorithms=_texts(
            document, "token_endpoint_auth_signing_alg_values_supported"
        ),
        scopes_supported=_texts(document, "scopes_supported"),
        iss_parameter_supported=(
            document.get("authorization_response_iss_parameter_supported") is True
        ),
    )


def no_json(body: bytes, name: str) -> str:
    """What to tell of a document that is not JSON."""
    if not body.lstrip().startswith(b"<"):
        return f"the provider's {name} is not JSON"
    return (
        f"the provider's {name} is a web page, not JSON. Check the issuer: what it leads to must "
        "answer without a login"
    )


def _short(value: Any) -> str:
    return repr(value[:200]) if isinstance(value, str) else "which is no text"


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) and len(value) <= 2048 else ""


def _texts(document: dict[str, Any], name: str) -> tuple[str, ...]:
    values = document.get(name)
    return tuple(v for v in values if isinstance(v, str)) if isinstance(values, list) else ()
