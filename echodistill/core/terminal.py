"""Standard output as it is found: in any encoding, and with a reader that may stop early.

A sign that the encoding lacks would otherwise end a command at its first print of it, and
``| head -1`` would end in a traceback.
"""

import codecs
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

PLAIN: Final = {
    "≤": "<=",
    "≥": ">=",
    "–": "-",
    "—": "-",
    "−": "-",
    "×": "x",
    "…": "...",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}
"""What stands for the signs of our own texts where the encoding lacks them; other characters are
escaped, so that names stay clear.
"""
HANDLER: Final = "echodistill_plain"


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that the encoding lacks (an error handler of ``codecs``)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(
        PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lacking
    ), error.end


def accept_any_text() -> None:
    """Make standard output and error take every text, whatever their encoding."""
    codecs.register_error(HANDLER, _plainer)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def child_environment() -> dict[str, str]:
    """Return what makes other Python programs, which know nothing of ``accept_any_text``, print in
    this process's encoding.
    """
    return (
        {"PYTHONIOENCODING": f"{sys.stdout.encoding}:backslashreplace"}
        if isinstance(sys.stdout, io.TextIOWrapper)
        else {}
    )


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Exit with status 1, without a traceback, where standard output is no longer read."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                # what is still buffered would fail at the interpreter's exit, where nobody can
                # handle it
                sys.stdout.flush()
    except BrokenPipeError:
        if not _is_broken(sys.stdout):  # the pipe was another one
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        sys.exit(1)


def _is_broken(stream: TextIO) -> bool:
    """Return whether a stream is a pipe or a socket whose other end is closed."""
    watch = select.poll()
    watch.register(stream, 0)  # such an end is told of in any case
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0))
