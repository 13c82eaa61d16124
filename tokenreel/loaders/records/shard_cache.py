"""A bounded directory of shards copied from a bucket, shared by the processes of a host."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import IO, Any

from tokenreel.errors import ConfigError, StorageError
from tokenreel.format import naming
from tokenreel.format.manifest import ShardInfo
from tokenreel.loaders import forks
from tokenreel.loaders.records import local_files
from tokenreel.loaders.records.fetch_threads import FetchThreads
from tokenreel.loaders.records.host_locks import PATIENCE, HostLocks
from tokenreel.loaders.records.retrying import WrongBytesError, retrying
from tokenreel.storage import files, links

_CHUNK_BYTES = 4 << 20
_LOCKS = ".locks"
_THREADS = 4  # that fetch ahead
_POLL = 0.02  # seconds between looks for room
_LOG = logging.getLogger(__name__)


class ShardCache:
    """Whole shards of a remote dataset on a local disk.

    A shard appears complete and checked, or not at all; one process fetches it while the others wait. Beyond the limit, the shards that
    were opened longest ago go first; a process that has one mapped keeps reading it, and its space is free when that process lets go.
    A shard that is being fetched counts with all its bytes from the start, so the limit holds for all processes together.

    Args:
      source: directory of the dataset, `gs://` or any other.
      directory: of the cache; several datasets may share it, told apart by their fingerprints. A link is followed once.
      fingerprint: of the dataset.
      limit: bytes of all shards in the cache; None for no limit.
    """

    def __init__(self, source: str, directory: str, fingerprint: str, limit: int | None = None) -> None:
        if limit is not None and limit < 1:
            raise ConfigError(f"cache_bytes must be at least 1, got {limit}")
        self.source, self.root, self.limit = source, links.follow(directory, "cache", _LOG.warning), limit
        self.directory = os.path.join(self.root, fingerprint)
        for folder in (self.directory, os.path.join(self.root, _LOCKS)):
            if os.path.islink(folder):
                raise ConfigError(f"{folder}: a symbolic link, where the cache writes and removes files. Remove the link.")
            os.makedirs(folder, exist_ok=True)
        self._locks = HostLocks(os.path.join(self.root, _LOCKS))
        self._fingerprint = fingerprint
        self._reset()

    def _reset(self) -> None:
        self._sound: set[str] = set()  # paths of copies whose CRC this process has compared
        self.after_fork()
        forks.renew_in_children(self)

    def after_fork(self) -> None:
        """Forgets the parent's threads, and what they are fetching."""
        self._ahead: set[str] = set()  # shards that are being fetched in the background
        self._threads: FetchThreads | None = None
        self._mutex = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # Threads and locks stay here, and another process compares the copies' CRCs itself.
        return {name: value for name, value in vars(self).items() if name not in ("_sound", "_ahead", "_threads", "_mutex")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reset()

    def open(self, info: ShardInfo) -> int:
        """Opens a shard's copy for reading, fetched first where it is missing or damaged.

        Raises:
          ConfigError: the shard is larger than the cache.
          ManifestError: the shard is gone, or not what the manifest says.
          StorageError: too many files are open, or another process is stuck while it fetches the shard.
        """
        path = os.path.join(self.directory, info.file)
        with self._locks.hold(f"{self._fingerprint}-{info.file}", progress=lambda: self._fetched(info.file)):
            # Whoever removes a shard holds this lock, so it stays until it is open.
            if not self._is_sound(path, info):
                self._fetch(path, info)
            now = time.time_ns()  # the kernel's own stamp is some milliseconds coarse
            os.utime(path, ns=(now, now))
            return local_files.opening(path, lambda: os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)))

    def will_need(self, info: ShardInfo) -> None:
        """Starts to fetch a shard in the background; a failure shows when it is opened."""
        with self._mutex:
            if info.file in self._ahead:
                return
            self._ahead.add(info.file)
            if self._threads is None:
                self._threads = FetchThreads(_THREADS, "tokenreel-cache")
            self._threads.submit(self._bring, info)

    def _bring(self, info: ShardInfo) -> None:
        """Fetches a shard in the background. Its descriptor is closed: the copy stays for whoever opens it next."""
        try:
            os.close(self.open(info))
        finally:
            with self._mutex:
                self._ahead.discard(info.file)

    def _fetched(self, name: str) -> list[tuple[str, int]]:
        """Gives the temporary files of a shard and when they were last written: what changes while another process fetches it."""
        found = []
        for other in os.listdir(self.directory):
            if other.startswith(name):
                with contextlib.suppress(FileNotFoundError):
                    found.append((other, os.stat(os.path.join(self.directory, other)).st_mtime_ns))
        return sorted(found)

    def _is_sound(self, path: str, info: ShardInfo) -> bool:
        """Compares a copy with the manifest: its size each time, its CRC once for the process, since that reads every byte."""
        if files.size(path) != info.bytes:
            return False
        if path not in self._sound:
            if files.checksum(path) != (info.bytes, info.crc32c):
                return False
            self._sound.add(path)
        return True

    def _fetch(self, path: str, info: ShardInfo) -> None:
        """Copies a shard to its path, checked on its way; the caller holds its lock."""
        import google_crc32c

        self._sound.discard(path)
        self._clean(path)
        self._check_limit(info)
        source = files.join(self.source, info.file)

        def copy() -> None:
            crc = size = 0
            with files.write_atomic(path) as target:
                self._reserve(path, target, info.bytes)
                with files.open_read(source) as stream:
                    while data := stream.read(_CHUNK_BYTES):
                        crc = google_crc32c.extend(crc, data)
                        size += len(data)
                        target.write(data)
                if (size, crc) != (info.bytes, info.crc32c):
                    raise WrongBytesError(
                        f"{source}: {size:,} bytes with crc32c {crc:#010x}, the manifest says {info.bytes:,} and {info.crc32c:#010x}. "
                        "Copy the dataset again from where it was built.",
                        crc,
                    )

        retrying(copy, source)
        self._sound.add(path)

    def _clean(self, path: str) -> None:
        """Removes what killed processes left: a temporary file of a shard whose lock nobody else holds."""
        for other in os.listdir(self.directory):
            if not files.TEMPORARY.search(other):
                continue
            name = files.TEMPORARY.sub("", other)
            if name == os.path.basename(path):
                files.remove(os.path.join(self.directory, other))
                continue
            with self._locks.hold(f"{self._fingerprint}-{name}", wait=False) as held:
                if held:
                    files.remove(os.path.join(self.directory, other))

    def _check_limit(self, info: ShardInfo) -> None:
        if self.limit is not None and info.bytes > self.limit:
            raise ConfigError(f"a shard has {info.bytes:,} bytes, the cache in {self.root} may hold {self.limit:,}: raise cache_bytes")

    def _reserve(self, path: str, target: IO[bytes], needed: int) -> None:
        """Gives a temporary file its whole size, as soon as so many more bytes stay within the limit.

        Raises:
          StorageError: what other processes are fetching leaves no room, and they do not get on.
        """
        seen, since = None, time.monotonic()
        while self.limit is not None:
            with self._locks.hold("all"):  # two processes that make room at a time would each count without the other
                others = self._make_room(needed, path)
                if others is None:
                    target.truncate(needed)
                    return
            if others != seen:
                seen, since = others, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                raise StorageError(
                    f"{self.root}: no room for {needed:,} bytes within cache_bytes for {PATIENCE:g} seconds: other processes of this host "
                    f"hold {others[0][1]} without getting on. End them if they hang, or raise cache_bytes."
                )
            os.utime(target.fileno())  # who waits for this shard sees that its fetch is not stuck
            time.sleep(_POLL)

    def _make_room(self, needed: int, path: str) -> list[tuple[int, str, int]] | None:
        """Removes the shards of all datasets that were opened longest ago, until `needed` more bytes stay within the limit.

        Args:
          needed: bytes to make room for.
          path: the shard that they are for, whose lock is held.

        Returns:
          None if there is room; else what takes it, which others are just fetching or opening: when it was written, path and bytes.
        """
        assert self.limit is not None
        found = []
        for name, size in files.list_files(self.root).items():
            full = os.path.join(self.root, name)
            shard = files.TEMPORARY.sub("", full)
            if shard == path or not naming.is_shard(os.path.basename(shard)):
                continue
            with contextlib.suppress(FileNotFoundError):
                found.append((os.stat(full).st_mtime_ns, full, size))
        used = sum(size for _, _, size in found)
        # What a killed process left of a fetch goes first. What is being fetched is held by its lock.
        for entry in sorted(found, key=lambda entry: (not files.TEMPORARY.search(entry[1]), entry)):
            if used + needed <= self.limit:
                break
            fingerprint, name = os.path.split(files.TEMPORARY.sub("", entry[1]))
            with self._locks.hold(f"{os.path.basename(fingerprint)}-{name}", wait=False) as held:
                if held:
                    files.remove(entry[1])
                    found.remove(entry)
                    used -= entry[2]
        return None if used + needed <= self.limit else sorted(found)
