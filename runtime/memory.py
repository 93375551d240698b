"""Memory of a process that runs for weeks: the garbage collector, and the C library's malloc."""

import ctypes
import gc
from contextlib import suppress

#: Parameters of glibc's mallopt(3), and from what size on memory is given back to the system.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 * 2**20


def collect_rarely() -> None:
    """Keep the garbage collector from walking over everything time and again.

    A record is a few small containers, and most go as they came: looking for cycles among those that wait,
    every 700 of them, costs more than they do. With a thousand connections open, walking over all there is
    takes 100 ms, and calls wait meanwhile. What is here at the start stays; what is left behind in cycles is
    small, and can wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def keep_freed_memory() -> None:
    """Keep what is freed, up to some megabytes, instead of giving it back to the system.

    A fetch is megabytes: given back each time, as the C library does by itself, it is cleared page by page
    when the next one comes. With ``collect_rarely`` a tenth of what ``measure`` costs
    (`docs/performance.md`).
    """
    with suppress(OSError, AttributeError):  # the GNU C library has it; others do as they do
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT_BYTES)
