"""A bucket on the loopback address, for tests of `gs://` paths."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from unittest import mock

from tokenreel import files


@contextlib.contextmanager
def bucket(name: str = "test-bucket") -> Iterator[str]:
    """Runs the emulator of Google Cloud Storage in a thread, and yields `gs://name`."""
    from gcp_storage_emulator.server import create_server

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    server = create_server("localhost", port, in_memory=True, default_bucket=name)
    server.start()
    try:
        with mock.patch.dict(os.environ, {"STORAGE_EMULATOR_HOST": f"http://localhost:{port}"}):
            files._client.cache_clear()
            yield f"gs://{name}"
    finally:
        server.stop()
        files._client.cache_clear()
