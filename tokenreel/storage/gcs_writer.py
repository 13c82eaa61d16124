"""An object as a file that is written: it appears complete, or not at all, and no writer replaces another's unseen."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

from tokenreel.errors import BuildError, StorageError
from tokenreel.storage import gcs

UPLOAD_BYTES = 8 << 20  # larger objects are uploaded part by part, so that a broken connection costs one part


class _Writer(io.RawIOBase):
    """Collects an object; it is uploaded whole if it is small, part by part otherwise, and appears when `commit` ends.

    Args:
      path: of the object.
      generation: the one it must still have when the upload ends; 0 if there must be no object.

    Attributes:
      bytes, crc32c: of what was written so far.
    """

    def __init__(self, path: str, generation: int) -> None:
        super().__init__()
        self._path, self._generation = path, generation
        self._blob = gcs.handle_of(path)
        self._buffer = bytearray()
        self._stream: Any = None
        self._refused = False  # another writer was faster; what is left is only compared
        self.crc32c = self.bytes = 0

    def writable(self) -> bool:
        """Says that it is."""
        return True

    def tell(self) -> int:
        """Counts the bytes written so far."""
        return self.bytes

    def write(self, data: Any) -> int:
        """Appends bytes.

        Raises:
          StorageError: a part cannot be uploaded.
        """
        import google_crc32c

        data = bytes(memoryview(data).cast("B"))
        self.crc32c = google_crc32c.extend(self.crc32c, data)
        self.bytes += len(data)
        if self._refused:  # counted all the same: `commit` compares the CRC with what the other writer wrote
            return len(data)
        if self._stream is None and len(self._buffer) + len(data) <= UPLOAD_BYTES:
            self._buffer += data
            return len(data)
        with self._refusal(), gcs.plain_errors(self._path, "write"):
            if self._stream is None:
                self._stream = self._blob.open(
                    "wb", chunk_size=UPLOAD_BYTES, if_generation_match=self._generation, retry=gcs.retry(), checksum="crc32c"
                )
                self._stream.write(bytes(self._buffer))
                self._buffer.clear()
            self._stream.write(data)
        return len(data)

    @contextlib.contextmanager
    def _refusal(self) -> Iterator[None]:
        """Notes a refusal by the condition (HTTP 412), and gives the upload up."""
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
            with self._refusal(), gcs.plain_errors(self._path, "write"):
                if self._refused:
                    pass
                elif self._stream is None:
                    gcs.retry()(self._upload)()
                else:
                    self._stream.close()
        except FileNotFoundError:
            raise StorageError(f"{self._path}: there is no bucket {gcs.split(self._path)[0]}. Check its name, or create it.", 404) from None
        small = self._stream is None and not self._refused
        found = gcs.describe(self._path, self._blob) if small else gcs.stat(self._path)  # a small upload's answer tells
        if found is not None and found.size == self.bytes and found.crc32c in (None, self.crc32c):
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

    def _upload(self) -> None:
        """Sends a small object in one request, once."""
        self._blob = gcs.handle_of(self._path)  # a new one, as a cut answer is left in the one that got it
        with gcs.whole_answers():
            self._blob.upload_from_string(
                bytes(self._buffer),
                content_type="application/octet-stream",
                if_generation_match=self._generation,
                retry=None,
                checksum="crc32c",
            )
        gcs.describe(self._path, self._blob)  # an answer that was cut is one that was lost

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
    before = gcs.stat(path)
    writer = _Writer(path, before.generation if before else 0)
    try:
        yield writer
        writer.commit()
    except BaseException:
        writer.cancel()
        raise
