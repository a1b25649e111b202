"""Memory of this process."""

import ctypes
import gc
from pathlib import Path


def resident_bytes() -> int:
    """Return the resident set size (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def give_back() -> None:
    """Collect garbage and return what glibc keeps for itself, so that a measurement shows what is in use."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return
