"""Bytes as text without padding (RFC 7515 section 2)."""

from base64 import urlsafe_b64decode, urlsafe_b64encode


def base64url(data: bytes) -> str:
    """What goes into a URL, a cookie or a token."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The bytes of such a text; letters that are none of its own are passed over.

    Raises:
        ValueError: it is none.
    """
    return urlsafe_b64decode(text + "==")  # more than is missing is no fault
