"""What Dataflow's launcher starts in the image: it submits the job that the parameters describe, and returns once the job is taken."""

import sys


def main() -> int:
    """Runs the job's command."""
    from pipelines.templates import launching

    return launching.main()


if __name__ == "__main__":
    sys.exit(main())
