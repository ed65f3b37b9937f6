import pytest

from sidecar.core.base64url import base64url, from_base64url


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"\xfb\xef\xff", "--__"),
        (b"f", "Zg"),
        (b"fo", "Zm8"),
        (b"foo", "Zm9v"),
        (b"\x5d\x75\xd7", "XXXX"),
    ],
)
def test_bytes_are_text_of_urls_without_padding(data: bytes, text: str) -> None:
    assert base64url(data) == text
    assert from_base64url(text) == data
