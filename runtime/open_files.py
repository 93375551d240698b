"""How many files and sockets a process may have open."""

import resource

import structlog

log = structlog.get_logger()


def allow_open_files(needed: int) -> None:
    """Raise this process's limit as far as is needed and allowed; say so where that is less.

    Many systems begin at 1024, for the sake of programs that call select(2), and allow more to who asks.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    if allowed < needed:
        log.warning("few_open_files", allowed=allowed, needed=needed)
