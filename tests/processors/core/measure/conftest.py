"""``NUMBA_DISABLE_JIT=1`` runs the compiled kernels as plain Python, so that coverage sees their lines.

Compiled code reads ``record.field``. Plain numpy has that for ``np.record`` alone, and lets its own methods
hide a field of the same name (``sum``). Without that variable this file changes nothing.
"""

from typing import Any

import numba
import numpy as np

from processors.core.measure import kernels


class Fields(np.record):
    """A record whose fields are attributes, and come before numpy's own."""

    def __getattribute__(self, name: str) -> Any:
        if name in np.void.__getattribute__(self, "dtype").names:
            return np.void.__getitem__(self, name)
        return super().__getattribute__(name)


def readable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of the same bytes with the same names, read as ``Fields``."""
    parts = [(name, dtype[name]) for name in dtype.names or ()]
    return np.dtype((Fields, [(name, readable(part) if part.names else part) for name, part in parts]))


if numba.config.DISABLE_JIT:
    for name, value in list(vars(kernels).items()):
        if isinstance(value, np.dtype) and value.names:
            setattr(kernels, name, readable(value))
