"""Which version this is."""

from importlib.metadata import PackageNotFoundError, version


def tapeline_version() -> str:
    """Return the version that is installed; ``unknown`` where the files are run without an installation."""
    try:
        return version("tapeline")
    except PackageNotFoundError:
        return "unknown"
