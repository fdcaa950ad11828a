"""Keep freed memory in the process: on the CPU, half of an eager training step can be page faults.

Torch asks the C library for every activation and gives it back after use. Above 32 MB, glibc maps such a
block anew each time and unmaps it again, so the kernel zeroes and maps each of its pages at every step: on a
virtual machine that costs several times the convolution itself. Told to keep what it has, glibc serves the next
step from the same pages.
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
    """Ask glibc to keep freed memory for the life of this process; return whether it agreed.

    The process's resident size then stays at its peak. Anything but glibc on Linux (macOS, musl, Windows) is
    left as it is. Allocators loaded in glibc's place (jemalloc, tcmalloc) do this by themselves and ignore it.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
