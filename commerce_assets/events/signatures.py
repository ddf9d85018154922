"""Signatures of deliveries: base64 of HMAC-SHA256 over the raw body.

Belongs here: signing and comparing. Does not belong here: which header carries a signature, and what a wrong one leads to.
"""

import hmac
from base64 import b64encode
from collections.abc import Iterable


def sign(body: bytes, secret: str) -> str:
    """The signature of a body, as Shopify writes it into `X-Shopify-Hmac-Sha256`."""
    return b64encode(hmac.digest(secret.encode(), body, "sha256")).decode("ascii")


def is_signed(body: bytes, signature: bytes, secrets: Iterable[str]) -> bool:
    """Whether one of the secrets made the signature; takes as long for a wrong one as for a right one."""
    matches = [hmac.compare_digest(b64encode(hmac.digest(secret.encode(), body, "sha256")), signature) for secret in secrets]
    return any(matches)
