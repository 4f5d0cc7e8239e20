"""Print a table that fits the width of the terminal: cells that are too wide are wrapped, left out
or moved, and no digit is cut.
"""

from collections.abc import Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

LEFT_OUT: Final = "intervals are left out, the terminal is too narrow"
LABEL: Final = 12
"""Fewest characters of width for the names of the rows, or the length of their longest word if that
is shorter.
"""

Block = Sequence[Sequence[Text]]
"""Rows of one section; each has the name first, then figures with or without an interval: ``47.9
[39, 55]``.
"""


def print_table(
    console: Console, title: str, heads: Sequence[str], blocks: Sequence[Block]
) -> None:
    """Print rows under ``heads``.

    In a terminal that is too narrow, names and headings are wrapped first, then intervals. After
    that intervals are left out, first those of all columns but the last one that has any. Finally
    the columns that do not fit get a table of their own below.
    """
    columns = len(heads)
    with_interval = [
        n for n in range(columns) if any(" [" in row[n].plain for block in blocks for row in block)
    ]
    last = set(with_interval[-1:])
    for kept in ({*with_interval}, last, set[int]()):
        shown = [[_without_intervals(row, kept) for row in block] for block in blocks]
        description = (
            title if kept == {*with_interval} else f"{title}; {'some ' if kept else ''}{LEFT_OUT}"
        )
        table = _fitting(console, description, heads, shown, list(range(columns)))
        wrapped = _table(description, heads, shown, list(range(columns)), [None] * columns)
        if table or (
            kept and Measurement.get(console, _unlimited(console), wrapped).minimum <= console.width
        ):
            console.print(table or wrapped)
            return
    first = 1
    while first < columns:
        for end in range(columns, first, -1):
            table = _fitting(
                console,
                description,
                heads,
                shown,
                [0, *range(first, end)],
                force=end == first + 1,
            )
            if table:
                console.print(table)
                first, description = end, ""
                break


def _without_intervals(row: Sequence[Text], kept: set[int]) -> list[Text]:
    return [
        cell if n in kept or n == 0 else Text(cell.plain.partition(" [")[0], cell.style)
        for n, cell in enumerate(row)
    ]


def _fitting(
    console: Console,
    title: str,
    heads: Sequence[str],
    blocks: Sequence[Block],
    columns: Sequence[int],
    force: bool = False,
) -> Table | None:
    """Return the table of some columns, with headings wrapped and then folded if necessary;
    ``None`` if it does not fit. ``force`` returns it in any case.
    """
    cells = [[row[n].cell_len for block in blocks for row in block] for n in columns]
    words = [max((len(word) for word in heads[n].split()), default=0) for n in columns]
    names = [word for block in blocks for row in block for word in row[0].plain.split()]
    label = min(LABEL, max(map(len, names), default=0))
    natural = [max([len(heads[n]), *cells[place]]) for place, n in enumerate(columns)]
    for widths in (
        natural,
        [
            None,
            *(max([word, *lengths]) for word, lengths in zip(words[1:], cells[1:], strict=True)),
        ],
        [None, *(max([1, *lengths]) for lengths in cells[1:])],
    ):
        frame = Measurement.get(
            console, _unlimited(console), _table("", heads, blocks, columns, [0, *widths[1:]])
        )
        room = console.width - frame.maximum
        if room >= natural[0] or (widths is not natural and room >= label):
            return _table(title, heads, blocks, columns, [min(room, natural[0]), *widths[1:]])
    return _table(title, heads, blocks, columns, [max(1, room), *widths[1:]]) if force else None


def _unlimited(console: Console) -> ConsoleOptions:
    return console.options.update_width(10_000)


def _table(
    title: str,
    heads: Sequence[str],
    blocks: Sequence[Block],
    columns: Sequence[int],
    widths: Sequence[int | None],
) -> Table:
    table = Table(
        title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1)
    )
    for n, width in zip(columns, widths, strict=True):
        table.add_column(heads[n], justify="right" if n else "left", width=width, overflow="fold")
    for block in blocks:
        for row in block:
            table.add_row(*(row[n] for n in columns))
        table.add_section()
    return table
