"""The spools of a gateway's processes: one file each, in one folder."""

from pathlib import Path

from ingest.heads import forget_heads
from ingest.spool import Spool


def spool_file(folder: Path, process: int) -> Path:
    """Return the file of the spool of a gateway's process; the first one is 0."""
    return folder / f"gateway-{process}.sqlite"


def spool_files(folder: Path) -> list[Path]:
    """Return the files of the spools in a folder."""
    return sorted(folder.glob("gateway-*.sqlite"))


def gather(folder: Path) -> None:
    """Merge what processes that are gone have left into the first one's spool. Raise SpoolError."""
    forget_heads(folder)
    first = spool_file(folder, 0)
    left = [path for path in spool_files(folder) if path != first]
    if left:
        spool = Spool(first)
        for path in left:
            spool.adopt(path)
        spool.close()
