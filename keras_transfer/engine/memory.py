"""Keep freed memory in the process: on the CPU, page faults can take half of an eager training step.

Torch allocates every activation with the C library's malloc and frees it after use. glibc maps and unmaps each block above
32 MB, so the kernel zeroes and maps all of its pages in every step: on a virtual machine that costs several times as much as
the convolution itself. With the thresholds set here, glibc keeps the pages and serves the next step from them.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache

# Constants of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER, _LARGEST = -1, 2**31 - 1


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Have glibc keep freed memory for the life of this process; return whether it accepted.

    The resident size then stays at its peak. Without glibc (macOS, musl, Windows) nothing is changed. Allocators loaded
    in its place (jemalloc, tcmalloc) ignore the call and keep freed memory anyway.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
