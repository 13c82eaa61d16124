"""The version of the package.

Tested in tests/test_builds.py.
"""

__version__ = "0.1.0.dev0"
