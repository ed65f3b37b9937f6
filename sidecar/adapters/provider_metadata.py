"""Discovery metadata (OpenID Connect Discovery 1.0 section 3), as far as it is used."""

from typing import Any

from sidecar.core.provider_addresses import REQUIRED, ProviderAddresses, endpoints_at
from sidecar.errors import ProviderUnavailable
from sidecar.ports import ProviderEndpoints


def read_metadata(document: Any, addresses: ProviderAddresses) -> ProviderEndpoints:
    """The endpoints in a discovery document, each where it is asked.

    Inside of a cluster it may be `http`, and what nobody needs may be left out.
    """
    if not isinstance(document, dict):
        raise ProviderUnavailable("the provider's discovery is not a JSON object")
    if not addresses.may_be_named(document.get("issuer")):
        raise ProviderUnavailable(
            f"the provider's discovery names another issuer, {_short(document.get('issuer'))}. "
            "SIDECAR_ISSUER, or issuer in oidc.config, must be equal to it to the letter "
            "(OpenID Connect Discovery 4.3)"
        )
    urls, refused = endpoints_at(addresses, document)
    for name in REQUIRED:
        if name in refused:
            raise ProviderUnavailable(f"the provider's discovery {refused[name]}")
    methods = _texts(document, "token_endpoint_auth_methods_supported")
    return ProviderEndpoints(
        issuer=addresses.issuer,
        **urls,
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


def _texts(document: dict[str, Any], name: str) -> tuple[str, ...]:
    values = document.get(name)
    return tuple(v for v in values if isinstance(v, str)) if isinstance(values, list) else ()
