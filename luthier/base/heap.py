"""Memory that a step frees is kept for the next one, instead of going back to the system and coming back page by page."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

# malloc.h of the GNU C library.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_PAD = 64 << 20


@cache
def keep() -> bool:
    """Tell the C library so, once for this process; return whether it took it (the GNU library on Linux does).

    A training step asks for the same large blocks again and again. By default those over 32 MB, such as the scores of a
    vocabulary, come fresh from the system, and every page of them is cleared and entered anew on the first touch: a fifth of
    a step of a small decoder with 4,096 tokens was spent on that.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # No block is mapped by itself, and nothing is given back from the heap's end. What the process once needed it keeps.
    return all((mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1), mallopt(_TOP_PAD, _PAD)))
