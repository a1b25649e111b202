"""Write plain text and tables to a terminal or a pipe, without markup and with control characters escaped.

Everything that commands print goes through `Output`, which takes no markup from text and escapes what a terminal would
obey (see `printable`). Where the output is no terminal, tables are as wide as their content, so that a line of the
table is a line of the text.
"""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from reid_stream.console.printable import printable, printable_lines

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.progress import Progress

_UNBOUNDED = 1_000_000
"""Width of a pipe in columns: more than any row has."""
_MOST_WHOLE = 30
"""Characters of a cell in the first column that are never folded."""
MARKS = {"ok": "green", "--": "red", "!!": "yellow"}
"""Marks before a line of `check`, and their colours."""


class Output(Console):
    """A rich console for text from anywhere; see the module."""

    def __init__(self, *, error: bool = False, file: Any = None) -> None:
        """`error`: write to the standard error output; `file`: to this instead."""
        super().__init__(stderr=error, file=file, markup=False, emoji=False, highlight=False)
        if not self.is_terminal:
            self.width = _UNBOUNDED

    def say(self, *parts: str | Text | tuple[str, str], style: str = "") -> None:
        """Print a paragraph of texts and (text, style); a terminal breaks it at its edge, so that it copies whole."""
        self.print(Text.assemble(*parts), style=style, soft_wrap=True)

    def mark(self, mark: str, text: str) -> None:
        """Print a line with a coloured mark of `MARKS` before it."""
        self.say(Text(mark, MARKS[mark]), " ", text)

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape before rich measures."""
        return super().render_str(printable_lines(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Escape what reached rich as `Text`, too."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable_lines(text), style, control)


class Rows(Table):
    """A table whose cells are text, never markup, one line each; too long ones are folded, and no column is lost."""

    def __init__(self, *columns: str, right: Iterable[str] = ()) -> None:
        """Make the columns; `right`: headers of those that are right-aligned."""
        super().__init__(box=None, pad_edge=False, header_style="bold")
        numbers = set(right)
        for head in columns:
            justify: JustifyMethod = "right" if head in numbers else "left"
            # At least as wide as the longest word of the header.
            least = max(map(len, head.split()), default=1)
            self.add_column(head, justify=justify, overflow="fold", min_width=least)

    def add_row(
        self, *cells: RenderableType | None, style: str | Style | None = None, end_section: bool = False
    ) -> None:
        """Add a row; strings are taken as they are."""
        made = [literal(cell) for cell in cells]
        super().add_row(*made, style=style, end_section=end_section)
        # The first column holds what is copied: it is not folded unless it is very long.
        if made and isinstance(made[0], Text):
            first = self.columns[0]
            first.min_width = max(first.min_width or 1, min(_MOST_WHOLE, made[0].cell_len))


def literal(cell: RenderableType | None) -> RenderableType | None:
    """Return a cell without markup and without anything that a terminal would obey."""
    return Text(printable(cell)) if isinstance(cell, str) else cell


def progress(what: str) -> "Progress":
    """Return a progress bar on the standard error output that leaves nothing behind."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Output(error=True), transient=True)


def write_json(what: object) -> None:
    """Print a value as one line of JSON."""
    import msgspec

    write_data(msgspec.json.encode(what).decode())


def write_data(line: str) -> None:
    """Print a line of JSON: as it is into a pipe; on a terminal with what it would obey escaped, still JSON."""
    line = line.replace("\n", " ").replace("\r", " ")  # between values only: JSON text has none inside strings
    sys.stdout.write((printable(line) if sys.stdout.isatty() else line) + "\n")
    sys.stdout.flush()


def count(number: float, one: str, several: str = "") -> str:
    """Return a number with its noun: `1 track`, `3 tracks`; `several` is the plural where it is not `one` + s."""
    return f"{number:.0f} {one if number == 1 else several or f'{one}s'}"
