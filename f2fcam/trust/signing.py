"""A signature for what this user made: Ed25519, one key per user, made at first use and never sent anywhere.

The library is imported by those who sign or verify: every process reads profiles' values, few their signatures.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from f2fcam.config import data_folder
from f2fcam.errors import F2FError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SEED_BYTES = 32


def key_path() -> Path:
    """The user's private key: 32 bytes that only they may read."""
    return data_folder() / "signing.key"


def user_key() -> Ed25519PrivateKey:
    """The user's key, made now if there is none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = key_path()
    try:
        if not path.exists():
            _store(path, Ed25519PrivateKey.generate().private_bytes_raw())
        seed = path.read_bytes()
    except OSError as error:
        raise F2FError(
            f"The signing key {path} cannot be used: {error.strerror}.", hint="Make the folder writable for you."
        ) from error
    if len(seed) != SEED_BYTES:
        raise F2FError(
            f"The signing key {path} is damaged.", hint=f"Remove it (`rm {path}`); the next enrolment makes one."
        )
    return Ed25519PrivateKey.from_private_bytes(seed)


def sign(data: bytes) -> tuple[str, str]:
    """Public key and signature of `data`, hexadecimal."""
    key = user_key()
    return key.public_key().public_bytes_raw().hex(), key.sign(data).hex()


def verify(data: bytes, public_key: str, signature: str) -> bool:
    """Whether the holder of `public_key` signed exactly `data`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bytes.fromhex(signature), data)
    except (InvalidSignature, ValueError):
        return False
    return True


def is_users(public_key: str) -> bool:
    """Whether this user's key is the one; makes no key."""
    path = key_path()
    return path.exists() and user_key().public_key().public_bytes_raw().hex() == public_key


def _store(path: Path, seed: bytes) -> None:
    """Write the key whole or not at all; the first of two processes wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(seed)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink()
