"""Memory of a process that runs for weeks: the garbage collector, and the C library's malloc."""

import ctypes
import gc
from contextlib import suppress

#: Parameters of glibc's mallopt(3), and from what size on memory is given back to the system.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 * 2**20


def collect_rarely() -> None:
    """Make the garbage collector run rarely, and skip what exists now.

    A record is a few small containers, nearly all freed by reference count: searching those that wait for
    cycles, every 700 of them, costs more than the records do. With a thousand connections open, a full
    collection takes 100 ms, and calls wait meanwhile. What is left behind in cycles is small, and can wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def keep_freed_memory() -> None:
    """Keep freed memory in the process, up to 64 MiB, instead of returning it to the system.

    A fetch is megabytes: returned each time, as the C library does by itself, it is cleared page by page
    when the next one comes. With ``collect_rarely`` a tenth of what ``measure`` costs
    (`docs/performance.md`).
    """
    with suppress(OSError, AttributeError):  # the GNU C library has it; others do as they do
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT_BYTES)
