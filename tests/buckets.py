"""A storage server on the loopback address, for tests of `gs://`."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import http.server
import io
import json
import os
import pathlib
import re
import threading
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import google_crc32c
from gcp_storage_emulator.handlers import buckets as bucket_handlers
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

from tests import lies
from tokenreel.storage import files, gcs

BUCKET = "bucket"


@dataclasses.dataclass
class Server:
    """The storage emulator, with what it lacks: preconditions, reads of one generation, pages, and failures on demand.

    Attributes:
      page: objects in an answer to a listing.
      fail: called with (number of the request, method, path and query); an HTTP status refuses the request. `drop` as status lets the
        request succeed and loses the answer.
      distort: called with (number of the request, method, path and query); what it gives alters the answer, see `tests.lies`.
      requests: how many there were, by method and kind.
      log: method, path and query of each.
    """

    storage: Storage
    page: int = 1000
    fail: Callable[[int, str, str], int | None] = lambda number, method, path: None
    distort: Callable[[int, str, str], lies.Lie | None] = lambda number, method, path: None
    requests: Counter[str] = dataclasses.field(default_factory=Counter)
    log: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def every(self, count: int, *statuses: int) -> None:
        """Makes every so-many-th request fail, with the given statuses in turn."""
        self.fail = lambda number, method, path: statuses[number // count % len(statuses)] if number % count == 0 else None

    def calm(self) -> None:
        """Ends the failures."""
        self.fail = lambda number, method, path: None
        self.distort = lambda number, method, path: None

    def fill(self, contents: Iterable[tuple[str, bytes]]) -> None:
        """Puts objects into the bucket without a request for each."""
        for number, (name, data) in enumerate(contents):
            stored = objects._make_object_resource("", BUCKET, name, "application/octet-stream", len(data))
            crc32c = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
            self.storage.create_file(BUCKET, name, data, {**stored, "generation": str(number + 1), "crc32c": crc32c})

    def generation(self, bucket: str, name: str) -> int:
        found = self.storage.objects.get(bucket, {}).get(name)
        return int(found["generation"]) if found else 0


DROP = -1


class _Handler(RequestHandler):
    wbufsize = -1  # an answer in one packet: the second of two would wait for the first to be acknowledged
    disable_nagle_algorithm = True
    timeout = 10.0  # one connection is served at a time, and one whose client was killed must not keep the others out

    def __init__(self, server: Server, *arguments: Any) -> None:
        self.state = server
        super().__init__(server.storage, *arguments)

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _guard(self, method: str) -> None:
        state = self.state
        url = urllib.parse.urlsplit(self.path)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query).items()}
        state.log.append((method, self.path))
        state.requests[method] += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.rfile = io.BytesIO(body)
        number = sum(state.requests.values())
        lie = state.distort(number, method, self.path)
        if lie is None:
            self._serve(number, method, url, query, body)
            return
        connection, answer = self.wfile, io.BytesIO()
        self.wfile = answer
        try:
            self._serve(number, method, url, query, body)
            dropped = self.wfile is not answer
        finally:
            self.wfile = connection
        self.close_connection = dropped or lie(answer.getvalue(), self.wfile, self.connection, self._object(url.path))

    def _object(self, path: str) -> bytes:
        """The bytes of the object that a path names, or none."""
        bucket, _, name = path.partition("/b/")[2].partition("/o/")
        found = self.state.storage.objects.get(bucket, {}).get(urllib.parse.unquote(name))
        return self.state.storage.get_file(bucket, urllib.parse.unquote(name)) if found else b""

    def _serve(self, number: int, method: str, url: urllib.parse.SplitResult, query: dict[str, str], body: bytes) -> None:
        state = self.state
        refused = state.fail(number, method, self.path)
        if refused is not None and refused != DROP:
            self._answer(refused, {"error": {"code": refused, "message": "refused by the test"}})
            return
        parts = [urllib.parse.unquote(part) for part in url.path.split("/")]
        bucket = parts[parts.index("b") + 1] if "b" in parts else ""
        name = (
            urllib.parse.unquote(url.path.rpartition("/o/")[2]) if "/o/" in url.path else self._uploaded(query, body)
        )  # of a copy: its own
        wanted = query.get("ifGenerationMatch")
        if name and wanted is not None and state.generation(bucket, name) != int(wanted):
            self._answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})
        elif method == "GET" and name and int(query.get("generation", 0)) not in (0, state.generation(bucket, name)):
            self._answer(404, {"error": {"code": 404, "message": "no such generation"}})
        elif method == "GET" and url.path.endswith(f"/b/{bucket}/o"):
            self._list(bucket, query)
        elif method == "GET" and self._starts_past_the_end(bucket, name):
            self._answer(416, {"error": {"code": 416, "message": "requested range not satisfiable"}})
        else:
            if refused == DROP:
                self.wfile = open(os.devnull, "wb")  # noqa: SIM115
            getattr(super(), f"do_{method}")()

    def _uploaded(self, query: dict[str, str], body: bytes) -> str:
        """The name of the object that a request uploads: of the upload that it continues, or in the JSON at the front of its body."""
        if "upload_id" in query:
            return str(self.state.storage.resumable.get(query["upload_id"], {}).get("name", ""))
        found = re.search(rb'"name"\s*:\s*("(?:[^"\\]|\\.)*")', body[:4096]) if "uploadType" in query else None
        return str(json.loads(found[1])) if found else ""

    def _starts_past_the_end(self, bucket: str, name: str) -> bool:
        wanted = self.headers.get("Range", "").removeprefix("bytes=").partition("-")[0]
        found = self.state.storage.objects.get(bucket, {}).get(name)
        return bool(wanted) and found is not None and int(wanted) >= int(found["size"])

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        if bucket not in self.state.storage.buckets:
            self._answer(404, {"error": {"code": 404, "message": "no such bucket"}})
            return
        found, _ = self.state.storage.get_file_list(bucket, query.get("prefix"), query.get("delimiter"))
        first = int(query.get("pageToken", 0))
        following = first + self.state.page
        body = {"kind": "storage#objects", "items": found[first:following]}
        self._answer(200, body | ({"nextPageToken": str(following)} if following < len(found) else {}))

    def do_GET(self) -> None:
        self._guard("GET")

    def do_POST(self) -> None:
        self._guard("POST")

    def do_PUT(self) -> None:
        self._guard("PUT")

    def do_DELETE(self) -> None:
        self._guard("DELETE")

    def do_PATCH(self) -> None:
        self._guard("PATCH")


class _HTTPServer(http.server.HTTPServer):
    request_queue_size = 128  # one request at a time, which makes each atomic


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Runs a storage server with one empty bucket, gs://bucket, and sends `tokenreel.storage.files` to it."""
    storage = Storage(use_memory_fs=True)
    storage._write_config_to_file = lambda: None  # it would write out the whole list of objects for each of them
    bucket_handlers.create_bucket(BUCKET, storage)
    state = Server(storage)
    listening = _HTTPServer(("127.0.0.1", 0), functools.partial(_Handler, state))
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{listening.server_address[1]}"
    gcs._client.cache_clear()
    try:
        yield state
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
        os.environ.pop("STORAGE_EMULATOR_HOST")
        if before is not None:
            os.environ["STORAGE_EMULATOR_HOST"] = before
        gcs._client.cache_clear()


@contextlib.contextmanager
def storage() -> Iterator[str]:
    """Runs a storage server; gives the address of its bucket."""
    with server():
        yield f"gs://{BUCKET}"


def upload(directory: pathlib.Path, remote: str) -> None:
    """Copies a directory to a bucket."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            files.write_bytes(f"{remote}/{path.relative_to(directory).as_posix()}", path.read_bytes())


def download(remote: str, directory: pathlib.Path) -> None:
    """Copies what lies below an address to a directory."""
    for name in files.list_files(remote):
        files.write_bytes(str(directory / name), files.read_bytes(f"{remote}/{name}"))
