"""Stable hashes and derived seeds: the same words give the same numbers on every machine and in every process."""

from __future__ import annotations

import hashlib
import json
from typing import Any

_SPAN = float(1 << 64)


def stable_hash(value: Any, *, size: int = 16) -> str:
    """Return a hex digest of ``size`` bytes for any JSON-like value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def stable_fraction(key: str, *, seed: int) -> float:
    """Map ``key`` to a number in [0, 1), uniformly and for ever: the base of splits that never move."""
    digest = hashlib.blake2b(f"{seed}\x1f{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _SPAN


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for one named use, so that two uses never share a random stream."""
    digest = hashlib.blake2b("\x1f".join(map(str, (seed, *names))).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
