"""Keys of a client, and of a cluster whose pods are its identity; in files, as they are mounted."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AZURE_AUDIENCE = "api://AzureADTokenExchange"
POD = "system:serviceaccount:argocd:argocd-server"


def rsa_key() -> rsa.RSAPrivateKey:
    """A new RSA key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def ec_key() -> ec.EllipticCurvePrivateKey:
    """A new EC key with P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: PrivateKeyTypes) -> str:
    """A private key as PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_jwk(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, alg: str, kid: str | None = None
) -> dict[str, Any]:
    """A key's public half, as it is registered at the provider."""
    public = key.public_key()
    made = (
        RSAAlgorithm.to_jwk(public)
        if isinstance(public, rsa.RSAPublicKey)
        else ECAlgorithm.to_jwk(public)
    )
    return {**json.loads(made), "alg": alg, **({"kid": kid} if kid else {})}


def write_pod_token(file: Path, key: rsa.RSAPrivateKey, *, seconds: float = 3600) -> None:
    """What the kubelet projects: a service account's token, for so many seconds."""
    claims = {"iss": "https://cluster.example", "sub": POD, "aud": AZURE_AUDIENCE}
    expiring = {**claims, "exp": int(time.time() + seconds)}
    file.write_text(jwt.encode(expiring, key, "RS256", headers={"kid": "cluster"}))
