"""Objects in Google Cloud Storage: what `files` does with `gs://` paths, a request at a time.

`gcs_reader` and `gcs_writer` make files of objects out of these requests.

Credentials are the library's own (Application Default Credentials); nothing here reads or keeps any. Requests that fail in passing (408,
429, 5xx, a broken connection) are sent again by the library, with growing delays. Every error names the object and a way out, and none
carries a URL with its query, which may be a signature or the handle of an upload.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import errno
import functools
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
CONNECTIONS = 64  # kept open for the threads that read and write at a time

# What a listing asks for: no more than an `Object` holds.
_FIELDS = "name,size,generation,crc32c,updated,customTime"


class Object(NamedTuple):
    """What a bucket knows of an object.

    Attributes:
      path: gs://bucket/name.
      size: in bytes.
      generation: number that changes whenever the object is written.
      crc32c: of its bytes, computed by the server; None where it told none.
      used: seconds since 1970 of its last writing, or of the last `touch`.
    """

    path: str
    size: int
    generation: int
    crc32c: int | None
    used: float


class CutAnswerError(ConnectionError):
    """An answer came without its end, or not as the object is: asked again, the server may do better."""


@functools.cache
def _client(process: int) -> Any:
    """Gives the client of a process; it is asked with the process's number, because connections do not survive a fork.

    Raises:
      ModuleNotFoundError: google-cloud-storage is not installed.
      StorageError: there are no credentials.
    """
    try:
        from google.cloud import storage
    except ImportError as error:
        raise ModuleNotFoundError("gs:// paths need google-cloud-storage: pip install google-cloud-storage") from error
    from requests.adapters import HTTPAdapter

    with plain_errors(GS, "connect to"):
        if os.environ.get("STORAGE_EMULATOR_HOST"):  # the library's own variable; an emulator knows no accounts
            from google.auth.credentials import AnonymousCredentials

            client = storage.Client(project="emulator", credentials=AnonymousCredentials())
        else:
            client = storage.Client()
        # The default pool keeps ten connections, and throws away those that more threads open.
        for scheme in ("http://", "https://"):
            client._http.mount(scheme, HTTPAdapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS))
    return client


def client() -> Any:
    """Makes or reuses the library's client.

    Raises:
      ModuleNotFoundError: google-cloud-storage is not installed.
      StorageError: there are no credentials.
    """
    return _client(os.getpid())


def retry() -> Any:
    """Makes the library's policy for failures that may pass, with our delays.

    Raises:
      ModuleNotFoundError: as `client`.
    """
    client()  # says what is missing
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_delay(initial=FIRST_DELAY, maximum=LONGEST_DELAY, multiplier=2.0).with_timeout(PATIENCE)


def split(path: str) -> tuple[str, str]:
    """Splits the path of an object into bucket and name.

    >>> split("gs://bucket/a/b")
    ('bucket', 'a/b')
    """
    bucket, _, name = path.removeprefix(GS).partition("/")
    return bucket, name


def handle_of(path: str, generation: int | None = None) -> Any:
    """Makes the library's handle of an object, or of one generation of it; requests nothing."""
    bucket, name = split(path)
    return client().bucket(bucket).blob(name, generation=generation)


@contextlib.contextmanager
def plain_errors(path: str, verb: str) -> Iterator[None]:
    """Turns the library's errors into ours.

    Args:
      path: of the object, for the message.
      verb: what is being done with it, for the message.

    Raises:
      FileNotFoundError: there is no object.
      StorageError: the request was refused, or kept failing.

    Raised `from None`: tracebacks of the library's errors print addresses that are secrets as long as they are valid.
    """
    try:
        yield
    except (FileNotFoundError, BuildError, StorageError, ModuleNotFoundError):
        raise
    except Exception as error:
        if status(error) == 404:
            raise FileNotFoundError(errno.ENOENT, "no such object", path) from None
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
    """Says what an error of the library means and what to do about it; None for an error that is not the storage's."""
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
    if isinstance(error, RetryError) and isinstance(error.cause, Exception):  # the patience is over: what failed last tells more
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


def describe(path: str, blob: Any) -> Object:
    """Describes an object by the library's handle, as its last answer left it.

    Raises:
      CutAnswerError: the answer was no description.
    """
    if not isinstance(blob._properties, dict) or blob.size is None or blob.generation is None:
        raise CutAnswerError("the description of the object came without its end")
    crc = int.from_bytes(base64.b64decode(blob.crc32c), "big") if blob.crc32c else None
    times = [moment.timestamp() for moment in (blob.updated, blob.custom_time) if moment is not None]
    return Object(path, int(blob.size), int(blob.generation), crc, max(times, default=0.0))


@contextlib.contextmanager
def whole_answers() -> Iterator[None]:
    """Turns what the library makes of an answer that was cut into an error that passes.

    Raises:
      CutAnswerError: an answer is no JSON, or none at all. The library takes headers that end early for an empty answer.
    """
    import requests

    try:
        yield
    except (AttributeError, KeyError, requests.exceptions.JSONDecodeError) as error:
        raise CutAnswerError(f"an answer came without its end ({type(error).__name__})") from None


def _look(path: str, generation: int | None = None) -> Object:
    """Asks once what a bucket knows of an object, or of one generation of it; the library's errors are the caller's."""
    blob = handle_of(path, generation)
    with whole_answers():
        blob.reload(retry=None)
    return describe(path, blob)


def stat(path: str) -> Object | None:
    """Asks the bucket what it knows of an object; None if there is none.

    Raises:
      StorageError: the bucket cannot be asked.
    """
    try:
        with plain_errors(path, "look up"):
            found: Object = retry()(_look)(path)
    except FileNotFoundError:
        return None
    return found


def list_objects(bucket: str, prefix: str, *, below: bool = True) -> Iterator[Object]:
    """Yields every object of a bucket whose name begins with a prefix, sorted by name, a thousand a request.

    With `below=False` those alone whose name has no "/" behind the prefix: the service passes over the others.

    Raises:
      StorageError: there is no such bucket, or it cannot be listed.
    """
    where = f"{GS}{bucket}/{prefix}"
    token: str | None = None

    def page() -> tuple[list[Object], str | None]:
        fields = f"kind,items({_FIELDS}),nextPageToken"
        with whole_answers():
            pages = client().list_blobs(
                bucket, prefix=prefix, delimiter=None if below else "/", fields=fields, page_token=token, retry=None
            )
            blobs = list(next(pages.pages))
        # A "directory" that a web console made is no object.
        found = [describe(f"{GS}{bucket}/{blob.name}", blob) for blob in blobs if not blob.name.endswith("/")]
        return found, pages.next_page_token

    with plain_errors(where, "list"):
        try:
            while True:
                found, token = retry()(page)()
                yield from found
                if token is None:
                    return
        except Exception as error:
            if status(error) == 404:
                raise StorageError(f"{where}: there is no bucket {bucket}. Check its name, or create it.", 404) from None
            raise


def glob(pattern: str) -> list[Object]:
    """Lists the objects that match a pattern (`*` stays within a path's part, `**` crosses), or lie below a "directory".

    As on a disk, wildcards match no part that begins with a dot unless the pattern has that dot.

    Raises:
      StorageError: as `list_objects`.
    """
    bucket, rest = split(pattern)
    # Names may hold wildcards: an object that is called as the pattern is goes before what matches it.
    if rest and not rest.endswith("/") and (found := stat(pattern)) is not None:
        return [found]
    if not any(wildcard in rest for wildcard in "*?["):
        prefix = f"{rest.rstrip('/')}/" if rest.strip("/") else ""
        base = len(GS) + len(bucket) + 1 + len(prefix)
        return [o for o in list_objects(bucket, prefix) if not any(part[:1] in (".", "_") for part in o.path[base:].split("/"))]
    # The server lists by prefix alone: what stands before the first wildcard keeps it from listing the whole bucket.
    prefix = rest[: min(rest.find(wildcard) for wildcard in "*?[" if wildcard in rest)]
    matcher = re.compile(_glob_expression(rest))
    return [found for found in list_objects(bucket, prefix) if matcher.fullmatch(split(found.path)[1])]


def _glob_expression(pattern: str) -> str:
    """Turns a pattern into a regular expression for whole names."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\])", pattern)
    known = {"**/": r"(?:(?!\.)[^/]+/)*", "**": r"(?:(?!\.)[^/]+/)*(?!\.)[^/]*", "*": "[^/]*", "?": "[^/]"}
    expression, begins = "", True  # whether a part of the path begins here
    for part in filter(None, parts):
        if begins and (part in ("*", "?") or part.startswith("[")):
            expression += r"(?!\.)"
        expression += known.get(part) or (part.replace("[!", "[^") if part.startswith("[") and len(part) > 1 else re.escape(part))
        begins = part.endswith("/")
    return expression


def read(path: str, offset: int = 0, length: int | None = None, generation: int | None = None, size: int | None = None) -> bytes:
    """Reads an object, or the `length` bytes from `offset` on (fewer at its end), in one request.

    An answer may be cut short without a sign of it, so that its length is compared with what must come. Where the object's size is not
    given, an answer that is too short is explained by a look at the object; an object that is read whole is looked at first, and its
    CRC32C compared.

    Args:
      path: of the object.
      offset: first byte.
      length: how many; None for all that follow.
      generation: to read; None for the one that is there now.
      size: of the object in this generation, where it is known.

    Raises:
      FileNotFoundError: there is none, or no longer of that generation.
      StorageError: it cannot be read.
    """
    if length == 0 or (size is not None and offset >= size):
        return b""

    known: Object | None = None

    def attempt() -> bytes:
        total = size if known is None else known.size
        end = None if length is None else offset + length - 1
        if total is not None and offset >= total:
            return b""
        blob = handle_of(path, generation if known is None else known.generation)
        try:
            data = bytes(blob.download_as_bytes(start=offset or None, end=end, raw_download=True, checksum=None, retry=None))
        except Exception as error:
            if status(error) != 416:  # the range begins at or past the end
                raise
            data = b""
        if total is None and len(data) != length:
            total = retry()(_look)(path, generation).size
        if total is not None and len(data) != (wanted := max(0, min(total, total if length is None else offset + length) - offset)):
            raise CutAnswerError(f"{len(data):,} bytes came where {wanted:,} must")
        if known is not None and offset == 0 and known.crc32c is not None and _crc32c(data) != known.crc32c:
            raise CutAnswerError(f"the bytes that came have crc32c {_crc32c(data):#010x}, the bucket says {known.crc32c:#010x}")
        return data

    with plain_errors(path, "read"):
        for again in (True, True, False):
            # Looked at by itself: a look and a read in one attempt would have to succeed together.
            known = retry()(_look)(path, generation) if size is None and length is None else None
            try:
                return bytes(retry()(attempt)())
            except Exception as error:
                if known is None or generation is not None or status(error) != 404 or not again:  # else it was replaced meanwhile
                    raise
    raise AssertionError("unreachable")


def peek(path: str) -> bytes:
    """Reads an object in one request, for who can tell by what it says whether it is whole: the answer may be cut short unseen.

    Raises:
      FileNotFoundError: there is none.
      StorageError: it cannot be read.
    """
    with plain_errors(path, "read"):
        return bytes(handle_of(path).download_as_bytes(raw_download=True, checksum=None, retry=retry()))


def _crc32c(data: bytes) -> int:
    import google_crc32c

    return int(google_crc32c.value(data))


def put(path: str, data: bytes, generation: int) -> int | None:
    """Writes an object under the condition that it is still what it was.

    Args:
      path: of the object.
      data: its new content.
      generation: the one it must have now; 0 if there must be no object.

    Returns:
      its new generation, or None if it is another's by now.

    Raises:
      StorageError: there is no bucket, or the request failed.
    """

    def attempt() -> int:
        blob = handle_of(path)
        with whole_answers():
            blob.upload_from_string(data, content_type="application/json", if_generation_match=generation, retry=None)
        return describe(path, blob).generation

    try:
        with plain_errors(path, "write"):
            return int(retry()(attempt)())
    except FileNotFoundError:
        raise StorageError(f"{path}: there is no bucket {split(path)[0]}. Check its name, or create it.", 404) from None
    except StorageError as error:
        if error.code != 412:
            raise
        found = stat(path)  # the answer to a request that was sent twice may be a refusal of its own success
        return found.generation if found is not None and found.generation != generation and read(path) == data else None


def rewrite(source: str, target: str, generation: int) -> Object | None:
    """Copies an object on the server, under the condition that the target is still what it was.

    Args:
      source: of the copy.
      target: what is written.
      generation: the one that the target must have now; 0 if there must be no object.

    Returns:
      the target as it is now; None if it is another's by now.

    Raises:
      FileNotFoundError: there is no such source.
      StorageError: the request failed.
    """

    def attempt() -> Object:
        copy, token = handle_of(target), None
        while True:
            with whole_answers():
                token, _, _ = copy.rewrite(handle_of(source), token=token, if_generation_match=generation, retry=None)
            if token is None:  # else it is large, and goes to another place or class
                return describe(target, copy)

    try:
        with plain_errors(source, "copy"):
            found: Object = retry()(attempt)()
    except StorageError as error:
        if error.code != 412:
            raise
        return None
    return found


def remove(path: str, generation: int | None = None) -> None:
    """Removes an object, if it has a generation or whatever it has; that it is gone already, or another's, is no error.

    Raises:
      StorageError: the request was refused for another reason, or kept failing.
    """
    with contextlib.suppress(FileNotFoundError), plain_errors(path, "remove"):
        try:
            handle_of(path).delete(if_generation_match=generation, retry=retry())
        except Exception as error:
            if status(error) != 412:
                raise


def touch(path: str) -> None:
    """Notes that an object was used now, in its `custom_time`: writing it again would change its generation. A missing one is no error."""
    blob = handle_of(path)
    with contextlib.suppress(FileNotFoundError), plain_errors(path, "mark"):
        blob.custom_time = datetime.datetime.now(datetime.UTC)
        blob.patch(retry=retry())
