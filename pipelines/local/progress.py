"""Says from time to time how far a job is."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tokenreel.errors import TokenreelError
from tokenreel.wording import plain

_LOOKING = 0.02  # the share of the time, at most, that reports take: they list directories


def note(line: str) -> None:
    """Says something about a job that stops nothing."""
    print(f"tokenreel: note: {plain(line)}", file=sys.stderr, flush=True)


@contextmanager
def show_progress(report: Callable[[], str], seconds: float = 5.0) -> Iterator[None]:
    """Prints a line every few seconds, if it says something new; less often where it takes long to find out."""
    done = threading.Event()

    def watch() -> None:
        last, pause = "", seconds
        while not done.wait(pause):
            began = time.monotonic()
            try:
                line = report()
            except (OSError, TokenreelError) as error:  # the build meets it too, and says so if it matters
                line = f"progress is unknown ({error})"
            pause = max(seconds, (time.monotonic() - began) / _LOOKING)
            if line != last and not done.is_set():
                print(f"tokenreel: {plain(line)}", file=sys.stderr, flush=True)
                last = line

    thread = threading.Thread(target=watch, daemon=True)
    started = time.monotonic()
    thread.start()
    try:
        yield
    finally:
        done.set()  # nobody waits for a listing that is under way
        print(f"tokenreel: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
