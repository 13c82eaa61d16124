"""`python -m tests.soak NAME --count N --seed S`; see the package."""

from __future__ import annotations

import argparse
import importlib
import sys

from tests import soak


def main() -> int:
    """Runs a soak; gives 0 where every chain ended as it should."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=soak.__doc__)
    parser.add_argument("name", choices=soak.SOAKS)
    parser.add_argument("--count", type=int, default=50, help="chains")
    parser.add_argument("--seed", type=int, default=0, help="of what is disturbed, and how")
    arguments = parser.parse_args()
    result = importlib.import_module(f"tests.soak.{arguments.name}").run(arguments.count, arguments.seed)
    print(result)
    return int(not result.sound)


if __name__ == "__main__":
    sys.exit(main())
