"""Objects in Google Cloud Storage: what `files` does with `gs://` paths.

Credentials are the library's own (Application Default Credentials); nothing here reads or keeps any. Requests that fail in passing (408,
429, 5xx, a broken connection) are sent again by the library, with growing delays. Every error names the object and a way out, and none
carries a URL with its query, which may be a signature or the handle of an upload.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import functools
import io
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tokenreel.errors import BuildError, StorageError
from tokenreel.storage.redaction import redact

GS = "gs://"

FIRST_DELAY = 0.5  # seconds before a failed request is sent again; doubles each time

LONGEST_DELAY = 30.0

PATIENCE = 300.0  # seconds of failing after which a request is given up

CONNECTIONS = 64

UPLOAD_BYTES = 8 << 20  # larger objects are uploaded piece by piece, so that a broken connection costs one piece

_FIRST_READ = 1 << 18

_LONGEST_READ = 16 << 20

_FIELDS = "name,size,generation,crc32c,updated,customTime"


class Object(NamedTuple):
    """What a bucket knows of an object.

    Attributes:
      path: gs://bucket/name.
      size: in bytes.
      generation: number that changes whenever the object is written.
      crc32c: of its bytes, computed by the server.
      used: seconds since 1970 of its last writing, or of the last `touch`.
    """

    path: str
    size: int
    generation: int
    crc32c: int
    used: float


@functools.cache
def _client(process: int) -> Any:
    """Gives the client of this process. A fork makes its own, for connections do not survive one."""
    try:
        from google.cloud import storage
    except ImportError as error:
        raise ModuleNotFoundError("gs:// paths need google-cloud-storage: pip install google-cloud-storage") from error
    from requests.adapters import HTTPAdapter

    with _plain_errors(GS, "connect to"):
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            from google.auth.credentials import AnonymousCredentials

            client = storage.Client(project="emulator", credentials=AnonymousCredentials())
        else:
            client = storage.Client()
        for scheme in ("http://", "https://"):
            client._http.mount(scheme, HTTPAdapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS))
    return client


def client() -> Any:
    """Makes or reuses the library's client."""
    return _client(os.getpid())


def retry() -> Any:
    """The library's policy for failures that may pass, with our delays."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_delay(initial=FIRST_DELAY, maximum=LONGEST_DELAY, multiplier=2.0).with_timeout(PATIENCE)


def split(path: str) -> tuple[str, str]:
    """Splits the path of an object into bucket and name.

    >>> split("gs://bucket/a/b")
    ('bucket', 'a/b')
    """
    bucket, _, name = path.removeprefix(GS).partition("/")
    return bucket, name


def _blob(path: str, generation: int | None = None) -> Any:
    bucket, name = split(path)
    return client().bucket(bucket).blob(name, generation=generation)


@contextlib.contextmanager
def _plain_errors(path: str, verb: str) -> Iterator[None]:
    """Turns the library's errors into ours, `FileNotFoundError` where there is no object.

    Raised `from None`: tracebacks of the library's errors print addresses that are secrets as long as they are valid.
    """
    try:
        yield
    except (FileNotFoundError, BuildError, StorageError, ModuleNotFoundError):
        raise
    except Exception as error:
        if status(error) == 404:
            raise FileNotFoundError(path) from None
        explained = _explain(error, path, verb)
        if explained is None:
            raise
        raise explained from None


def status(error: Exception) -> int | None:
    """Finds the HTTP status behind an error of the library, None for any other error."""
    code = getattr(error, "code", None)
    if code is None:
        code = getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) else None


def _explain(error: Any, path: str, verb: str) -> StorageError | None:
    import requests
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

    code = status(error)
    if isinstance(error, GoogleAuthError):
        return StorageError(
            f"{path}: no valid credentials to {verb} it ({redact(error)}). On a workstation run `gcloud auth application-default login`; "
            "elsewhere attach a service account to the machine.",
            code,
        )
    if code in (401, 403):
        return StorageError(
            f"{path}: not allowed to {verb} it (HTTP {code}). Check which account the credentials belong to, and grant it "
            "roles/storage.objectUser on the bucket.",
            code,
        )
    if isinstance(error, RetryError) and isinstance(error.cause, Exception):
        error = error.cause
        code = status(error)
    if code is not None and code < 500 and code not in (408, 429):
        return StorageError(
            f"{path}: cannot {verb} it (HTTP {code}: {redact(error)}). Check the name of the bucket and of the object.", code
        )
    if isinstance(error, (GoogleAPICallError, RetryError, InvalidResponse, DataCorruption, requests.RequestException, ConnectionError)):
        what = f"HTTP {code}" if code is not None else f"{type(error).__name__}: {redact(error)}"
        return StorageError(
            f"{path}: cannot {verb} it, the storage kept failing for {PATIENCE:g} seconds ({what}). Run the same command again when the "
            "network and the service are well; a build keeps what it has finished.",
            code,
        )
    return None


def _object(path: str, blob: Any) -> Object:
    crc = int.from_bytes(base64.b64decode(blob.crc32c or ""), "big")
    times = [moment.timestamp() for moment in (blob.updated, blob.custom_time) if moment is not None]
    return Object(path, int(blob.size), int(blob.generation), crc, max(times, default=0.0))


def stat(path: str) -> Object | None:
    """Asks the bucket what it knows of an object; None if there is none."""
    blob = _blob(path)
    try:
        with _plain_errors(path, "look up"):
            blob.reload(retry=retry())
    except FileNotFoundError:
        return None
    return _object(path, blob)


def list_objects(bucket: str, prefix: str) -> Iterator[Object]:
    """Yields every object of a bucket whose name begins so, sorted by name, a thousand a request."""
    where = f"{GS}{bucket}/{prefix}"
    with _plain_errors(where, "list"):
        try:
            for blob in client().list_blobs(bucket, prefix=prefix, fields=f"items({_FIELDS}),nextPageToken", retry=retry()):
                if not blob.name.endswith("/"):  # a "directory" that a web console made
                    yield _object(f"{GS}{bucket}/{blob.name}", blob)
        except Exception as error:
            if status(error) == 404:
                raise StorageError(f"{where}: there is no bucket {bucket}. Check its name, or create it.") from None
            raise


def glob(pattern: str) -> list[Object]:
    """Lists the objects that match a pattern (`*` stays within a path's part, `**` crosses), or lie below a "directory".

    As on a disk, wildcards match no part that begins with a dot unless the pattern has that dot.
    """
    bucket, rest = split(pattern)
    if rest and not rest.endswith("/") and (found := stat(pattern)) is not None:
        return [found]
    if not any(wildcard in rest for wildcard in "*?["):
        prefix = f"{rest.rstrip('/')}/" if rest.strip("/") else ""
        base = len(GS) + len(bucket) + 1 + len(prefix)
        return [o for o in list_objects(bucket, prefix) if not any(part[:1] in (".", "_") for part in o.path[base:].split("/"))]
    prefix = rest[: min(rest.find(wildcard) for wildcard in "*?[" if wildcard in rest)]
    matcher = re.compile(_glob_expression(rest))
    return [found for found in list_objects(bucket, prefix) if matcher.fullmatch(split(found.path)[1])]


def _glob_expression(pattern: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\])", pattern)
    known = {"**/": r"(?:(?!\.)[^/]+/)*", "**": r"(?:(?!\.)[^/]+/)*(?!\.)[^/]*", "*": "[^/]*", "?": "[^/]"}
    expression, begins = "", True  # whether a part of the path begins here
    for part in filter(None, parts):
        if begins and (part in ("*", "?") or part.startswith("[")):
            expression += r"(?!\.)"
        expression += known.get(part) or (part.replace("[!", "[^") if part.startswith("[") and len(part) > 1 else re.escape(part))
        begins = part.endswith("/")
    return expression


def read(path: str, offset: int = 0, length: int | None = None, generation: int | None = None) -> bytes:
    """Reads an object, or the `length` bytes from `offset` on (fewer at its end), in one request.

    Raises:
      FileNotFoundError: there is none, or no longer of that generation.
      StorageError: it cannot be read.
    """
    if length == 0:
        return b""
    end = None if length is None else offset + length - 1
    try:
        with _plain_errors(path, "read"):
            return bytes(_blob(path, generation).download_as_bytes(start=offset or None, end=end, raw_download=True, retry=retry()))
    except StorageError as error:
        if error.code == 416:  # the range begins at or past the end
            return b""
        raise


class Reader(io.RawIOBase):
    """Reads one generation of an object.

    A read after a seek asks for little, reads that follow one another for ever more, up to 16 MB: finding where a line begins costs a
    quarter of a megabyte, and a long file few requests.
    """

    def __init__(self, path: str, generation: int | None = None) -> None:
        super().__init__()
        self._size: int | None = None
        if generation is None:
            found = stat(path)
            if found is None:
                raise FileNotFoundError(path)
            generation, self._size = found.generation, found.size
        self._path, self._generation = path, generation
        self._position = self._at = 0  # of the next byte, and of the first in the buffer
        self._buffer = b""
        self._ahead = _FIRST_READ

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Gives the position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a byte; requests nothing."""
        if whence == io.SEEK_END:
            if self._size is None:
                found = stat(self._path)
                if found is None or found.generation != self._generation:
                    raise FileNotFoundError(self._path)
                self._size = found.size
            offset += self._size
        elif whence == io.SEEK_CUR:
            offset += self._position
        self._position = max(0, offset)
        if not self._at <= self._position <= self._at + len(self._buffer):
            self._ahead = _FIRST_READ
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Reads `size` bytes, fewer only at the end; all that are left where it is negative."""
        if size is None or size < 0:
            size = None
        start = self._position - self._at
        found = self._buffer[start : None if size is None else start + size] if 0 <= start <= len(self._buffer) else b""
        self._position += len(found)
        missing = None if size is None else size - len(found)
        if missing == 0 or (self._size is not None and self._position >= self._size):
            return found
        wanted = None if missing is None else max(missing, self._ahead)
        data = read(self._path, self._position, wanted, self._generation)
        if wanted is None or len(data) < wanted:
            self._size = self._position + len(data)
        self._at, self._buffer = self._position, b"" if missing is None else data
        self._ahead = min(2 * self._ahead, _LONGEST_READ)
        taken = data if missing is None else data[:missing]
        self._position += len(taken)
        return found + taken if found else taken

    def readall(self) -> bytes:
        """Reads all that is left."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Writer(io.RawIOBase):
    """Collects an object; it is uploaded whole if it is small, piece by piece otherwise, and appears when `commit` ends."""

    def __init__(self, path: str, generation: int) -> None:
        super().__init__()
        self._path, self._generation = path, generation
        self._blob = _blob(path)
        self._buffer = bytearray()
        self._stream: Any = None
        self._refused = False  # another writer was faster; what is left is only compared
        self.crc32c = self.bytes = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Counts the bytes written so far."""
        return self.bytes

    def write(self, data: Any) -> int:
        """Appends bytes."""
        import google_crc32c

        data = bytes(memoryview(data).cast("B"))
        self.crc32c = google_crc32c.extend(self.crc32c, data)
        self.bytes += len(data)
        if self._refused:
            return len(data)
        if self._stream is None and len(self._buffer) + len(data) <= UPLOAD_BYTES:
            self._buffer += data
            return len(data)
        with self._refusal(), _plain_errors(self._path, "write"):
            if self._stream is None:
                self._stream = self._blob.open(
                    "wb", chunk_size=UPLOAD_BYTES, if_generation_match=self._generation, retry=retry(), checksum="crc32c"
                )
                self._stream.write(bytes(self._buffer))
                self._buffer.clear()
            self._stream.write(data)
        return len(data)

    @contextlib.contextmanager
    def _refusal(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            if error.code != 412:
                raise
            self._refused = True
            self.cancel()

    def commit(self) -> None:
        """Ends the upload, and checks that the bucket holds what was written.

        Raises:
          BuildError: another writer put other bytes there since this one began.
          StorageError: the upload failed, or arrived damaged.
        """
        try:
            with self._refusal(), _plain_errors(self._path, "write"):
                if self._refused:
                    pass
                elif self._stream is None:
                    self._blob.upload_from_string(
                        bytes(self._buffer),
                        content_type="application/octet-stream",
                        if_generation_match=self._generation,
                        retry=retry(),
                        checksum="crc32c",
                    )
                else:
                    self._stream.close()
        except FileNotFoundError:
            raise StorageError(f"{self._path}: there is no bucket {split(self._path)[0]}. Check its name, or create it.") from None
        small = self._stream is None and not self._refused
        found = _object(self._path, self._blob) if small else stat(self._path)  # a small upload's answer tells
        if found is not None and (found.size, found.crc32c) == (self.bytes, self.crc32c):
            return  # ours, or the same bytes: a repeated bundle, or a request whose answer was lost
        if self._refused:
            raise BuildError(
                f"{self._path}: another process wrote other bytes here while this job was writing it ("
                f"{'gone again' if found is None else f'{found.size:,} bytes'}, ours are {self.bytes:,}). Two jobs of different settings "
                "or versions share a directory: let one finish, or choose another --output."
            )
        raise StorageError(
            f"{self._path}: {self.bytes:,} bytes with crc32c {self.crc32c:#010x} were sent, the bucket holds "
            f"{'none' if found is None else f'{found.size:,} with {found.crc32c:#010x}'}. Run the same command again."
        )

    def cancel(self) -> None:
        """Gives the upload up: nothing appears."""
        if self._stream is not None:
            with contextlib.suppress(Exception):
                self._stream.terminate()
            # A stream that is left open would upload its rest when it is collected, at any moment in any thread.
            with contextlib.suppress(Exception):
                self._stream._buffer.close()


@contextlib.contextmanager
def writing(path: str) -> Iterator[_Writer]:
    """Opens an object that appears complete when the body ends, or not at all.

    The upload is conditional on the object being what it was when the body began, so that no writer replaces another's unseen. Where
    another was faster, equal bytes are success (bundles are repeated) and other bytes an error.
    """
    before = stat(path)
    writer = _Writer(path, before.generation if before else 0)
    try:
        yield writer
        writer.commit()
    except BaseException:
        writer.cancel()
        raise


def put(path: str, data: bytes, generation: int) -> int | None:
    """Writes an object if it has that generation (0: if there is none); gives its new generation, or None if it is another's by now."""
    blob = _blob(path)
    try:
        with _plain_errors(path, "write"):
            blob.upload_from_string(data, content_type="application/json", if_generation_match=generation, retry=retry())
    except FileNotFoundError:
        raise StorageError(f"{path}: there is no bucket {split(path)[0]}. Check its name, or create it.") from None
    except StorageError as error:
        if error.code != 412:
            raise
        found = stat(path)  # the answer to a request that was sent twice may be a refusal of its own success
        return found.generation if found is not None and found.generation != generation and read(path) == data else None
    return int(blob.generation)


def remove(path: str, generation: int | None = None) -> None:
    """Removes an object, if it has that generation; that it is gone already, or another's, is no error."""
    with contextlib.suppress(FileNotFoundError), _plain_errors(path, "remove"):
        try:
            _blob(path).delete(if_generation_match=generation, retry=retry())
        except Exception as error:
            if status(error) != 412:
                raise


def touch(path: str) -> None:
    """Notes that an object was used now."""
    blob = _blob(path)
    with contextlib.suppress(FileNotFoundError), _plain_errors(path, "mark"):
        blob.custom_time = datetime.datetime.now(datetime.UTC)
        blob.patch(retry=retry())
