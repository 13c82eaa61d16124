"""The modules that write are programs of an environment of their own."""

collect_ignore_glob = ["with_*.py"]
