"""Print to any standard output: in any encoding, and to a reader that may stop early.

Otherwise a command would end with an error at the first character that the encoding lacks, and ``|
head -1`` would end in a traceback.
"""

import codecs
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

REPLACEMENTS: Final = {
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
"""Replacements for characters of our own texts that the encoding lacks; other characters are
escaped, so that names stay unambiguous.
"""
HANDLER: Final = "echodistill_plain"


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Return a replacement for characters that the encoding lacks, and where to resume (an error
    handler of ``codecs``).
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(
        REPLACEMENTS.get(sign) or sign.encode("ascii", "backslashreplace").decode()
        for sign in lacking
    ), error.end


def accept_any_text() -> None:
    """Make standard output and standard error accept every text, whatever their encoding."""
    codecs.register_error(HANDLER, _replace_unencodable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def child_environment() -> dict[str, str]:
    """Return the environment variables that make other Python programs, which do not call
    ``accept_any_text``, print in this process's encoding.
    """
    return (
        {"PYTHONIOENCODING": f"{sys.stdout.encoding}:backslashreplace"}
        if isinstance(sys.stdout, io.TextIOWrapper)
        else {}
    )


@contextmanager
def exit_on_broken_pipe() -> Iterator[None]:
    """Exit with status 1, without a traceback, where the reader of standard output closed it."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                # Text that is still buffered would fail at the interpreter's exit, where no code
                # can handle it.
                sys.stdout.flush()
    except BrokenPipeError:
        if not _is_broken(sys.stdout):  # Another pipe than standard output was broken.
            raise
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
        sys.exit(1)


def _is_broken(stream: TextIO) -> bool:
    """Return whether a stream is a pipe or a socket whose other end is closed."""
    watch = select.poll()
    watch.register(stream, 0)  # POLLERR and POLLHUP are reported even with an empty mask.
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0))
