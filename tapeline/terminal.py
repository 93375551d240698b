"""What is written for people to read: as text alone, whatever a sender or a store put into it.

A name may have markup of rich in it, escape sequences that a terminal obeys, or characters that turn the
direction of writing and make one thing look like another (Trojan Source, CVE-2021-42574). Every command
writes by this module, so that they are seen and not obeyed.
"""

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def visible(text: str) -> str:
    """Return a text in which each character that shows nothing, or does something, is its escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def visible_lines(text: str) -> str:
    """Return a text of several lines, each made visible."""
    return "\n".join(map(visible, text.split("\n")))


def visible_json(text: str) -> str:
    """Return a line of JSON that says the same, with what is not seen escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def echo(*cells: object) -> None:
    """Write a line to standard output: one text, or several with tabs between them."""
    typer.echo("\t".join(visible(str(cell)) for cell in cells))


def echo_json(line: str) -> None:
    """Write a line of JSON to standard output, at once."""
    print(visible_json(line), flush=True)


@functools.cache
def console(*, to_stderr: bool = True) -> "Console":
    """Return the console on standard error, or on standard output. It knows no markup."""
    from rich.console import Console
    from rich.segment import Segment

    class VisibleConsole(Console):
        """A console that writes nothing from outside but what can be seen."""

        def render_str(self, text: str, **kwargs: Any) -> "Text":
            """Take a string; here, so that its width is that of what is shown."""
            return super().render_str(visible_lines(text), **kwargs)

        def render(self, *args: Any, **kwargs: Any) -> Iterable[Segment]:
            """Render something, and make what is in it visible."""
            for segment in super().render(*args, **kwargs):
                if segment.control or segment.text.isprintable():
                    yield segment
                else:
                    yield Segment(visible_lines(segment.text), segment.style)

    return VisibleConsole(stderr=to_stderr, highlight=False, markup=False, emoji=False)
