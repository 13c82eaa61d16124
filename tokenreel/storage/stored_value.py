"""Values that every worker needs and that may be large: a file named by its content, read once in each process.

What travels in the graph of a job in place of such a value, a vocabulary of some megabytes, is a `StoredValue`: a path and a digest.
Services limit a graph to some 10 MB, and a worker unpacks what is in it again and again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import threading
from collections import OrderedDict
from typing import Any, Generic, TypeVar, cast

from tokenreel.errors import BuildError
from tokenreel.storage import files

_INLINE_BYTES = 16 << 10  # of a value that travels as it is: a file is not worth its flush to disk
_KEPT = 8  # values that a process holds, those that were asked for last; a job has three
_T = TypeVar("_T")

# The values of this process by digest: that of the process which stored them is among them, so workers in its threads read nothing.
_LOADED: OrderedDict[str, Any] = OrderedDict()
_LOCK = threading.Lock()


@dataclasses.dataclass(frozen=True)
class StoredValue(Generic[_T]):
    """A value on its way to workers, small enough for the graph of a job.

    Attributes:
      digest: of the pickled value.
      path: of the file that holds it; "" where it travels as it is.
      inline: the pickled value, where it is small.
    """

    digest: str
    path: str
    inline: bytes

    @classmethod
    def store(cls, directory: str, stem: str, value: _T) -> StoredValue[_T]:
        """Writes a value, unless it is small.

        Args:
          directory: where its file lies.
          stem: begins the name of the file.
          value: whatever can be pickled; nobody changes it from now on.
        """
        data = pickle.dumps(value)
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        with _LOCK:
            _keep(digest, value)
        if len(data) <= _INLINE_BYTES:
            return cls(digest, "", data)
        path = files.join(directory, f"{stem}-{digest}.pickle")
        files.write_bytes(path, data)
        return cls(digest, path, b"")

    def load(self) -> _T:
        """Gives the value, the same object to all threads of a process; the first call reads it.

        Raises:
          BuildError: its file is gone, or not what was written.
        """
        with _LOCK:  # held while it is read: threads that begin together read it once
            if self.digest not in _LOADED:
                _keep(self.digest, pickle.loads(self._read()))
            _LOADED.move_to_end(self.digest)
            return cast(_T, _LOADED[self.digest])

    def _read(self) -> bytes:
        if not self.path:
            return self.inline
        try:
            data = files.read_bytes(self.path)
        except FileNotFoundError:
            data = None
        # Compared before it is unpacked: a pickle of somebody else could run anything.
        if data is None or hashlib.blake2b(data, digest_size=16).hexdigest() != self.digest:
            raise BuildError(
                f"{self.path}: what workers read at their start {'is gone' if data is None else 'was changed'}. Run the same command "
                "again, and let nothing else write there."
            )
        return data


def _keep(digest: str, value: Any) -> None:
    _LOADED[digest] = value
    while len(_LOADED) > _KEPT:
        _LOADED.popitem(last=False)
