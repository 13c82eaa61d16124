"""A worker process of a build on this machine: Beam's own, which from its first moment on ends with the build.

Tested in tests/transforms/workers/test_orphans.py.
"""

import sys

from transforms.workers import orphans, quiet


def main() -> None:
    """Runs the worker that the environment describes."""
    orphans.end_with_parent()
    quiet.drop_import_warning()
    from apache_beam.runners.worker import sdk_worker_main  # takes seconds, in which the build may end

    quiet.end_import()
    quiet.print_no_tracebacks()
    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
