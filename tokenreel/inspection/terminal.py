"""What commands that print share: colours, and readers that stop reading.

Tested in tests/tokenreel/commands/test_inspect.py.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

_STYLES = {"title": "1", "boundary": "1;36", "special": "33", "masked": "35", "name": "2", "damage": "1;31"}


def painter(color: bool) -> Callable[[str, str], str]:
    """Gives `paint(style, text)`, which wraps text in ANSI colours, or leaves it as it is."""
    return (lambda style, text: f"\x1b[{_STYLES[style]}m{text}\x1b[0m") if color else (lambda style, text: text)


def wants_color(choice: str) -> bool:
    """Decides `--color`: "auto" means on a terminal, unless NO_COLOR is set (no-color.org) or the terminal knows none."""
    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return choice == "always"


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """Ends a block quietly when whatever reads standard output has seen enough, as `| head` does."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that nothing fails at exit
