"""What a worker tells the user.

Tested in tests/pipelines/test_merging.py.
"""

import sys


def say(line: str) -> None:
    """Tells the user something, on a worker."""
    print(f"tokenreel: {line}", file=sys.stderr, flush=True)
