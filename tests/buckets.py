"""A storage server on the loopback address, for tests of `gs://`."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
from collections.abc import Iterator

from tokenreel import files

BUCKET = "bucket"


@contextlib.contextmanager
def storage() -> Iterator[str]:
    """Runs a storage emulator with one empty bucket and sends `tokenreel.files` to it; gives the bucket's address, gs://bucket."""
    from gcp_storage_emulator.server import create_server

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    server.start()
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"
    files._client.cache_clear()
    try:
        yield f"gs://{BUCKET}"
    finally:
        server.stop()
        os.environ.pop("STORAGE_EMULATOR_HOST")
        if before is not None:
            os.environ["STORAGE_EMULATOR_HOST"] = before
        files._client.cache_clear()


def upload(directory: pathlib.Path, remote: str) -> None:
    """Copies a directory to a bucket."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            files.write_bytes(f"{remote}/{path.relative_to(directory).as_posix()}", path.read_bytes())
