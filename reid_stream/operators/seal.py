"""Signature of the daemon's own instructions, which share a stream with those of operators.

Whoever may append an instruction could otherwise report an erasure as done. The key exists only in the daemon's
process: a report that the process before left unread is refused, and the erasure, still open, is repeated.
"""

import hashlib
import hmac
import secrets

FIELD = "seal"
"""Field of the stream's entry that holds the signature."""


class Seal:
    """HMAC-SHA256 with a key of this process."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def sign(self, body: bytes) -> bytes:
        """Return the signature of an encoded instruction, in hexadecimal."""
        return hmac.new(self._key, body, hashlib.sha256).hexdigest().encode()

    def is_valid(self, body: bytes, signature: bytes) -> bool:
        """Whether this process signed the instruction."""
        return hmac.compare_digest(self.sign(body), signature)
