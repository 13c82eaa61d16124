"""Whether a directory still holds the build that was opened: no batch mixes the rows of two."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tokenreel.errors import ManifestError
from tokenreel.format import manifest as manifests
from tokenreel.format import naming
from tokenreel.format.manifest import ShardInfo
from tokenreel.storage import files, gcs

_CHUNK_BYTES = 4 << 20
_OPEN_AGAIN = "Load the dataset again to read what is there now, or give the path of the one that was opened."


class BuildWatch:
    """Remembers which build was opened, and compares it with what lies in its directory now.

    Of local files it remembers cheap signs (inode, size and time of the manifest, size and time of each shard), which are looked at
    whenever a shard is opened; bytes are read only where a sign has changed. In a bucket every read names the generation that was listed.
    A build removes the manifest of what it replaces before its shards, so a shard that is open while the manifest is still there is the
    right one.

    Args:
      directory: of the dataset, resolved: a link that moves later does not matter.

    Attributes:
      manifest: as it was when the directory was opened.

    Raises:
      ManifestError: there is no manifest, or it was altered.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._sign = self._look()  # before the manifest is read: if it is replaced in between, the next look differs
        self.manifest = manifests.read(directory)
        self._fingerprint = self.manifest.fingerprint
        self._versions: dict[str, int] = {}

    def _look(self) -> tuple[int, int, int] | None:
        """Gives the signs of a local manifest; None in a bucket, and where there is none."""
        if files.is_remote(self.directory):
            return None
        try:
            found = os.stat(files.join(self.directory, naming.MANIFEST))
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def note(self, versions: Mapping[str, int]) -> None:
        """Remembers the versions of files as they were listed: generations of objects, times of files in nanoseconds.

        Raises:
          ManifestError: the listing was of another build than the manifest.
        """
        self._versions.update(versions)
        self.check()

    def version(self, name: str) -> int | None:
        """Gives the version of a file that was noted."""
        return self._versions.get(name)

    def check(self) -> None:
        """Compares the build in the directory with the one that was opened.

        Raises:
          ManifestError: it is another one, or there is none any more; names both fingerprints.
        """
        sign = self._look()
        if sign is not None and sign == self._sign:
            return
        try:
            found = manifests.read(self.directory).fingerprint
        except ManifestError as error:
            raise ManifestError(
                f"{self.directory}: the build that was opened here, with fingerprint {self._fingerprint}, is gone or being replaced "
                f"({error}) {_OPEN_AGAIN}"
            ) from error
        if found != self._fingerprint:
            raise ManifestError(
                f"{self.directory}: replaced by another build after it was opened: fingerprint {found}, expected {self._fingerprint}. "
                f"{_OPEN_AGAIN}"
            )
        self._sign = sign  # the same build, copied or touched

    def check_shard(self, info: ShardInfo, descriptor: int) -> None:
        """Compares an open local shard, of the right size, with the build that was opened.

        Raises:
          ManifestError: the directory holds another build, or the shard other bytes.
        """
        self.check()
        modified = os.fstat(descriptor).st_mtime_ns
        if modified == self._versions.get(info.file):
            return
        # Written after the dataset was opened, or opened here first, on another machine than where it was listed.
        if (found := _crc_of(descriptor)) != info.crc32c:
            raise ManifestError(
                f"{files.join(self.directory, info.file)}: overwritten after the dataset was opened: crc32c {found:#010x}, the manifest "
                f"says {info.crc32c:#010x}. Copy the dataset again from where it was built."
            )
        self._versions[info.file] = modified

    def follow(self, info: ShardInfo) -> bool:
        """Looks for a shard in a bucket whose generation is gone, and takes its successor if that has the same bytes.

        Returns:
          whether there is one.

        Raises:
          ManifestError: the directory holds another build.
        """
        self.check()
        found = gcs.stat(files.join(self.directory, info.file))
        if found is None or found.generation == self._versions.get(info.file):
            return False
        if (found.size, found.crc32c) != (info.bytes, info.crc32c):
            raise ManifestError(
                f"{files.join(self.directory, info.file)}: overwritten after the dataset was opened: {found.size:,} bytes with crc32c "
                f"{found.crc32c:#010x}, the manifest says {info.bytes:,} and {info.crc32c:#010x}. Copy the dataset again from where it was "
                "built."
            )
        self._versions[info.file] = found.generation
        return True


def _crc_of(descriptor: int) -> int:
    """Computes the CRC32C of an open file, without moving its position."""
    import google_crc32c

    crc = offset = 0
    while data := os.pread(descriptor, _CHUNK_BYTES, offset):
        crc = google_crc32c.extend(crc, data)
        offset += len(data)
    return crc
