"""Plots of the results, into ``.tapeline/bench``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

FOLDER = Path(".tapeline/bench")


@contextmanager
def plot(name: str, x: str, y: str, size: tuple[float, float] = (9.0, 4.5)) -> Iterator[Axes]:
    """Yield axes to draw on, and save them as ``NAME.png``."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    yield axes
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / f"{name}.png", dpi=110)
