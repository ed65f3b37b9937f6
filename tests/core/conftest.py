"""What these tests need of the conftest above, which imports the whole sidecar.

`make mutation` imports the core thousands of times, and reads this one alone.
"""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa


@pytest.fixture(scope="session")
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
