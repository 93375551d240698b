"""Files of a local store that a crash of the machine does not undo.

obstore's local store renames a file into place when it is whole, and syncs nothing: the kernel may write
the new name before the bytes, and both half a minute later. So here a file is written under a staged
name, synced, renamed, and then its folders are synced up to the store's root, as fsync(2) asks for a new
name to last. Every function blocks. All raise OSError.
"""

import errno
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from processors.core.record.sweep import STAGED, Listed
from schemas.errors import TapelineError

Content = bytes | memoryview

#: What lies here are calls: nobody else on the machine reads them.
FILE_MODE, FOLDER_MODE = 0o600, 0o700

#: So many blocks does one call of the system write.
_IOV_MAX = os.sysconf("SC_IOV_MAX")

#: A folder may be removed, as empty, between its making and the first file in it. So often it is made again.
_MAKE_FOLDER_TRIES = 100


class LostFileError(TapelineError, OSError):
    """A store does not hold what it has acknowledged."""


def check_kept(path: str, size: int, held: int | None) -> None:
    """Raise LostFileError if what a store holds at a path is not of the size that was written."""
    if held != size:
        found = "holds nothing there" if held is None else f"holds {held}"
        raise LostFileError(f"the store acknowledged {size} bytes of {path}, and {found}")


class DurableFile:
    """A new file, seen under its name only when ``keep`` has made it whole and durable.

    It is made with the first write. ``close`` removes what was not kept.
    """

    def __init__(self, root: Path, path: str) -> None:
        """Prepare the file ``path`` of the store at ``root``."""
        self._root = root
        self._path = _below(root, path)
        self._staged = self._path.with_name(f"{self._path.name}#{secrets.randbits(40)}")
        self._descriptor: int | None = None

    def _opened(self) -> int:
        if self._descriptor is None:
            self._descriptor = self._open()
        return self._descriptor

    def _open(self) -> int:
        for _ in range(_MAKE_FOLDER_TRIES):
            with suppress(FileNotFoundError):
                _make_folders(self._root, self._path.parent)
                return os.open(self._staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._staged))

    def write(self, *blocks: Content) -> None:
        """Write at the end, one block behind the other."""
        descriptor = self._opened()
        rest = [memoryview(block).cast("B") for block in blocks]
        while rest:
            written = os.writev(descriptor, rest[:_IOV_MAX])
            done = 0
            while done < len(rest) and written >= len(rest[done]):
                written -= len(rest[done])
                done += 1
            del rest[:done]
            if written:
                rest[0] = rest[0][written:]

    def sync(self) -> None:
        """Make what was written durable, under the staged name still."""
        os.fsync(self._opened())

    def rename(self) -> None:
        """Show it under its name, in the place of an older one; durable once its folder is synced."""
        self._staged.replace(self._path)

    def keep(self) -> None:
        """Make it durable under its name, in the place of an older one."""
        self.sync()
        self.rename()
        sync_folders(self._root, self._path.parent)

    def close(self) -> None:
        """Close it. Unless it was kept, nothing is left of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._staged.unlink(missing_ok=True)


def _make_folders(root: Path, folder: Path) -> None:
    """Make a folder of the store, and those above it: each with its mode, which `parents=True` would not."""
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for above in reversed(missing):
        above.mkdir(FOLDER_MODE, exist_ok=True)


def _below(root: Path, path: str) -> Path:
    """Return where a path of the store lies; ValueError where that would not be below its root."""
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(f"{path!r} is no path in a store")
    return root / path


def write_file(root: Path, path: str, content: Content) -> None:
    """Write a file of the store at ``root``, in one piece."""
    with closing(DurableFile(root, path)) as file:
        file.write(content)
        file.keep()


def write_folder(
    root: Path, folder: str, files: Mapping[str, Sequence[Content]], before: Mapping[str, int]
) -> None:
    """Write the files of a folder of the store at ``root``, each of its blocks.

    The last is seen when all others are durable, and have their sizes; so have those written ``before``, of
    which they are given. Together they cost a third less than one by one, since the folders above are synced
    once. What killed writers had staged there is deleted. Raise LostFileError.
    """
    with ExitStack() as closers:
        opened = []
        for name, blocks in files.items():
            file = closers.enter_context(closing(DurableFile(root, f"{folder}/{name}")))
            file.write(*blocks)
            opened.append(file)
        for file in opened:
            file.sync()
        for file in opened[:-1]:
            file.rename()
        sync_folders(root, _below(root, folder))
        *others, _ = files
        for name, size in {**before, **{name: sum(map(len, files[name])) for name in others}}.items():
            path = _below(root, f"{folder}/{name}")
            check_kept(f"{folder}/{name}", size, path.stat().st_size if path.is_file() else None)
        opened[-1].rename()
        _sync_folder(_below(root, folder))
    delete_staged(root, folder)


def sync_folders(root: Path, folder: Path) -> None:
    """Make a folder's names durable, and those of the folders above it, up to the store's root.

    All of them, each time: whoever made one may not have synced it yet. That of an unchanged folder costs
    next to nothing.
    """
    while True:
        _sync_folder(folder)
        if folder == root:
            return
        folder = folder.parent


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    except OSError as error:
        # Some file systems (of the network, or in user space) cannot sync a folder.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(number)


def make_root(root: Path) -> None:
    """Make the folder of a store, if there is none, durably."""
    if not root.is_dir():
        root.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        for folder in root.parents:
            # One that this user may not read existed before.
            with suppress(PermissionError):
                _sync_folder(folder)


def delete_tree(root: Path, path: str) -> None:
    """Delete a folder of the store with all in it, and the folders above it that are empty then.

    The root's own folders stay. A folder that is missing is deleted.
    """
    doomed = _below(root, path)
    for folder, _, files in os.walk(doomed, topdown=False):
        for name in files:
            Path(folder, name).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            Path(folder).rmdir()
    above = doomed.parent
    while root not in (above, above.parent):
        try:
            above.rmdir()
        except FileNotFoundError:
            pass
        except OSError:  # it is not empty
            break
        above = above.parent
    while True:
        try:
            return _sync_folder(above)
        except FileNotFoundError:  # by now another has removed it
            above = above.parent


def delete_staged(root: Path, path: str) -> None:
    """Delete the files staged in a folder of the store: their writers were killed, or came too late."""
    with suppress(FileNotFoundError), os.scandir(_below(root, path)) as entries:
        for entry in entries:
            if STAGED.fullmatch(entry.name):
                Path(entry.path).unlink(missing_ok=True)


def staged_below(root: Path, folder: str) -> list[Listed]:
    """Return the files staged anywhere below a folder of the store: obstore lists none of these."""
    found = []
    for above, _, files in os.walk(_below(root, folder)):
        for name in filter(STAGED.fullmatch, files):
            path = Path(above, name)
            with suppress(FileNotFoundError):  # by now it has its name
                status = path.stat()
                modified_ms = status.st_mtime_ns // 1_000_000
                found.append(Listed(path.relative_to(root).as_posix(), status.st_size, modified_ms))
    return found


def delete_file(root: Path, path: str) -> None:
    """Delete a file of the store, if it is there."""
    _below(root, path).unlink(missing_ok=True)
