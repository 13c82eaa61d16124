"""A shelf: bundles by digest, and tags that name them.

    bundles/HEX.tar                     a bundle, written once and never changed; HEX is what its digest holds
    tags/TYPE/IDENTIFIER/TAG.json       which bundle a tag names, and those that it named before

A tag is written after its bundle is complete, and as a whole, so a push that is interrupted changes nothing that `fetch` or `list` sees.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import time
from typing import Any

from tokenreel.errors import ConfigError, ShelfError
from tokenreel.shelf import bundle as bundles
from tokenreel.shelf import lock_file, unpacked
from tokenreel.shelf.bundle import Bundle
from tokenreel.storage import files, replacing

FORMAT = "tokenreel.tag/1"
DEFAULT_TAG = "latest"
DEFAULT_MAX_BYTES = 16 << 30
ROOT = "TOKENREEL_SHELF"  # environment variable: the shelf to use where none is given
NOTHING = "nothing"  # what a tag names that does not exist
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TAGS, _BUNDLES = "tags", "bundles"
_ABANDONED_SECONDS = 24 * 3600  # without a byte written
_REMEMBERED = 1000  # bundles that a tag named before


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tag:
    """A name for a bundle.

    Attributes:
      item_type: what it is: "vocabulary", "config", "model", "dataset" or any other word.
      identifier: its name among those of its type.
      tag: which of its versions.
      digest: of the bundle that the tag names.
      bytes: of the packed bundle.
      previous: digests that it named before, the latest first.
    """

    item_type: str
    identifier: str
    tag: str
    digest: str
    bytes: int
    previous: tuple[str, ...] = ()


class Shelf:
    """Bundles and their tags, in a folder or a bucket.

    Args:
      root: directory, local or `gs://`; by default the one that the environment variable `TOKENREEL_SHELF` names.

    Raises:
      ConfigError: there is none.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        found = os.environ.get(ROOT) if root is None else os.fspath(root)
        if not found:
            raise ConfigError(f"which shelf? Give its directory (--shelf, Shelf(root)), or set {ROOT} to it.")
        self.root = files.expand(found)

    def push(
        self, path: str | os.PathLike[str], identifier: str, item_type: str, *, tag: str = DEFAULT_TAG, replaces: str | None = None
    ) -> Tag:
        """Puts a file or a folder onto the shelf, and has a tag name it. The same contents are stored once, whatever they are called.

        Args:
          path: of what is pushed, local or `gs://`; links to files count as the files.
          identifier: its name.
          item_type: what it is.
          tag: which is to name it from now on.
          replaces: digest that the tag must name until then, or "nothing"; by default it is moved whatever it names.

        Returns:
          the tag.

        Raises:
          ConfigError: a name is impossible, or nothing is there that could be pushed.
          ShelfError: the tag names another bundle than `replaces`; a file was changed meanwhile.
        """
        _check_names(item_type, identifier, tag)
        paths = bundles.find(files.expand(os.fspath(path)))
        bundle = bundles.describe(paths)
        target = self._bundle_path(bundle.digest)
        if not _holds(target, bundle, paths):
            self._remove_abandoned()
            with files.write_atomic(target) as file:
                for chunk in bundles.pack(bundle, paths):
                    file.write(chunk)
        return self._move(
            Tag(item_type=item_type, identifier=identifier, tag=tag, digest=bundle.digest, bytes=bundle.packed_bytes), replaces
        )

    def fetch(
        self,
        identifier: str,
        item_type: str,
        *,
        tag: str = DEFAULT_TAG,
        cache_dir: str | os.PathLike[str] | None = None,
        lock: str | os.PathLike[str] | None = None,
        update: bool = False,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> str:
        """Gives a folder with the files that were pushed, each compared with its checksum; downloads what is not there.

        Args:
          identifier: its name.
          item_type: what it is.
          tag: which version: a tag, or a digest.
          cache_dir: folder for unpacked bundles; by default the user's own (`~/.cache/tokenreel/shelf`).
          lock: lock file. What it pins is fetched, whatever the tag names now; what it does not pin yet, it does from now on.
          update: ask the tag again, and pin what it names now.
          max_bytes: of all files of the bundle; a larger one is refused before anything is written.

        Returns:
          path of the folder. Do not write there: what was altered is fetched again.

        Raises:
          ConfigError: a name is impossible.
          ShelfError: there is no such tag or bundle; the bundle is damaged, or too large.
        """
        digest, item = tag, f"{item_type}/{identifier}@{tag}"
        _check_names(item_type, identifier, *([] if bundles.is_digest(tag) else [tag]))
        lock = None if lock is None else files.expand(os.fspath(lock))
        pinned = None if lock is None or update else lock_file.read(lock).get(item)
        if pinned is not None:
            digest = pinned
        elif not bundles.is_digest(tag):
            digest = self.resolve(identifier, item_type, tag).digest
        directory = unpacked.default_folder() if cache_dir is None else os.path.expanduser(os.fspath(cache_dir))
        folder = unpacked.get(directory, digest, lambda begun: self._unpack(digest, begun, max_bytes))
        if lock is not None and pinned is None:
            lock_file.pin(lock, item, digest)
        return folder

    def list(self) -> list[Tag]:
        """Lists the tags, sorted by type, identifier and tag.

        Raises:
          ShelfError: a tag cannot be read.
        """
        found = []
        for name in sorted(files.list_files(files.join(self.root, _TAGS))):
            parts = name.removesuffix(".json").split("/")
            if name.endswith(".json") and len(parts) == 3:
                with contextlib.suppress(FileNotFoundError):
                    found.append(self._read(*parts))
        return found

    def resolve(self, identifier: str, item_type: str, tag: str = DEFAULT_TAG) -> Tag:
        """Says which bundle a tag names now.

        Raises:
          ConfigError: a name is impossible.
          ShelfError: there is no such tag, or it cannot be read.
        """
        _check_names(item_type, identifier, tag)
        try:
            return self._read(item_type, identifier, tag)
        except (FileNotFoundError, NotADirectoryError):
            raise ShelfError(
                f"{self.root}: has no {item_type} {identifier!r} with tag {tag!r}. `tokenreel shelf list` shows what there is."
            ) from None

    def _read(self, item_type: str, identifier: str, tag: str) -> Tag:
        path = self._tag_path(item_type, identifier, tag)
        return Tag(item_type=item_type, identifier=identifier, tag=tag, **_parse(path, files.read_bytes(path)))

    def _move(self, wanted: Tag, replaces: str | None) -> Tag:
        """Has a tag name a bundle, under the condition that it names what it must until then."""
        path, moved = self._tag_path(wanted.item_type, wanted.identifier, wanted.tag), [wanted]

        def change(data: bytes | None) -> bytes | None:
            before = None if data is None else _parse(path, data)
            named = NOTHING if before is None else str(before["digest"])
            if replaces is not None and named not in (replaces, wanted.digest):
                raise ShelfError(f"{path}: names {named}, not {replaces}: somebody moved it. Look at what it names, and push again.")
            previous = () if before is None else (named, *before["previous"])
            kept = tuple(digest for digest in previous if digest != wanted.digest)[:_REMEMBERED]
            moved[0] = dataclasses.replace(wanted, previous=kept)
            return None if named == wanted.digest else _to_json(moved[0])

        replacing.replace(path, change)
        return moved[0]

    def _unpack(self, digest: str, folder: str, max_bytes: int) -> Bundle:
        path = self._bundle_path(digest)
        try:
            with files.open_read(path) as stream:
                return bundles.unpack(stream, digest, folder, max_bytes)
        except (FileNotFoundError, NotADirectoryError):
            raise ShelfError(f"{path}: no such bundle. `tokenreel shelf list` shows what there is.") from None
        except ShelfError as error:
            raise ShelfError(f"{path}: {error}. Nothing of it was kept.") from error

    def _remove_abandoned(self) -> None:
        """Removes what pushes that were killed left on a disk, when none can be at work on it any more."""
        directory = files.join(self.root, _BUNDLES)
        for name, changed in ({} if files.is_remote(directory) else files.list_changes(directory)).items():
            if files.TEMPORARY.search(name) and changed < time.time() - _ABANDONED_SECONDS:
                files.remove(files.join(directory, name))

    def _tag_path(self, item_type: str, identifier: str, tag: str) -> str:
        return files.join(self.root, f"{_TAGS}/{item_type}/{identifier}/{tag}.json")

    def _bundle_path(self, digest: str) -> str:
        return files.join(self.root, f"{_BUNDLES}/{digest.partition(':')[2]}.tar")


def _holds(target: str, bundle: Bundle, paths: dict[str, str]) -> bool:
    """Says whether a bundle lies where it belongs, with all its bytes: a disk may have lost some. An object is not downloaded for that."""
    import google_crc32c

    if files.size(target) != bundle.packed_bytes:
        return False
    crc = 0
    for chunk in bundles.pack(bundle, paths):
        crc = google_crc32c.extend(crc, chunk)
    return files.checksum(target) == (bundle.packed_bytes, crc)


def _check_names(*names: str) -> None:
    """Checks what becomes a part of a path."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r:.200}: types, identifiers and tags are 1 to 100 letters, digits, '.', '_' and '-', the first a letter or a digit"
            )


def _to_json(tag: Tag) -> bytes:
    content = {"bytes": tag.bytes, "digest": tag.digest, "format": FORMAT, "previous": tag.previous}
    return json.dumps(content, indent=1).encode() + b"\n"


def _parse(path: str, data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise ShelfError(f"{path}: a tag of format {content['format']!r:.100}, this version reads {FORMAT!r}. Upgrade tokenreel.")
        size, digest, previous = content["bytes"], content["digest"], tuple(content["previous"])
        if type(size) is not int or not all(isinstance(each, str) and bundles.is_digest(each) for each in (digest, *previous)):
            raise ValueError("no digest")
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ShelfError(f"{path}: no tag of a shelf, or a damaged one. Push the item again under another tag.") from error
    return {"bytes": size, "digest": digest, "previous": previous}
