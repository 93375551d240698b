"""URLs, as they may be told: in an error, on a terminal, in a log."""

from urllib.parse import urlsplit


def without_secrets(url: str) -> str:
    """Return scheme and host of a URL; a password, and a token in path or query, are left out, as ``…``."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "…"
    if not parts.scheme or host is None:
        return "…"
    host = f"[{host}]" if ":" in host else host
    more = "/…" if parts.query or parts.path.strip("/") or parts.fragment else ""
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{more}"
