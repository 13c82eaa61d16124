"""Hostile bundles: names that lead elsewhere, links, devices, sizes, archives that end early, flipped bytes, tags that lie.

Each chain puts one bundle that no push makes onto a shelf, as its owner could, and fetches it with the command. It must be refused in one
line: nothing may be written outside of the cache, nothing of it may stay there, and no more bytes may ever be written than were allowed.
What a mutation left as it was is fetched as it was pushed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import pathlib
import random
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tokenreel import commands
from tokenreel.shelf import Shelf, bundle
from tokenreel.shelf.bundle import FOLDER, MANIFEST

MAX_BYTES = 100_000
CONTENTS = {"a.txt": b"first", "b/c.bin": bytes(range(256)) * 5, "b/d.txt": b"", "b/e/f.txt": b"x" * 512}
NAMES = [
    "../escaped", "../../escaped", "a/../../../escaped", "/tmp/escaped", "//escaped", "a//b", "./a", "a/.", "..", ".", "", "a/", "/",
    "a\\..\\b",
    "..\\escaped", "a\0b", "a\nb", "\ud800", "\u202egpj.exe", "x" * 101, "/".join(["long"] * 60), "b", "a.txt", "bundle.json/../../escaped",
    "b/../../../escaped", "\uff0e\uff0e/\0", "~/escaped\x7f", "a.txt/below", "\x1b[2J", "C:\\escaped",
]  # fmt: skip
SIZES: list[Any] = [-1, MAX_BYTES + 1, 10**9, 8**11 - 1, 8**11, 10**18, 10**30, 1.0, 1e300, True, "5", None, [], {}]
TYPES = b"123456789gxLKSDMNVX\0\xff"
LINKS = ["../../escaped", "/etc/passwd", "/tmp", "files/a.txt", "bundle.json", "."]


@dataclasses.dataclass
class Result:
    """How the bundles ended.

    Attributes:
      chains: how many were fetched.
      refused: in one line, with nothing kept.
      taken: since they were left as they were pushed.
      wrong: all others; a line is printed for each.
    """

    chains: int = 0
    refused: int = 0
    taken: int = 0
    wrong: int = 0

    def __str__(self) -> str:
        return f"{self.chains:,} chains: {self.refused:,} refused, {self.taken:,} taken as they were pushed, {self.wrong:,} wrong"

    @property
    def sound(self) -> bool:
        """Says whether all went well."""
        return not self.wrong


def run(count: int, seed: int) -> Result:
    """Fetches `count` bundles, drawn by `seed`: the same number is the same bundle, whatever the count."""
    result = Result()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        sound = make_sound(root)
        for number in range(count):
            draw = random.Random(f"{seed}:{number}")
            kind = draw.choice(list(KINDS))
            archive, digest = KINDS[kind](draw, sound)
            problem = fetch(root, archive, digest, is_sound=(archive, digest) == (sound, _digest(_listing(CONTENTS))))
            result.chains += 1
            result.refused += problem == "refused"
            result.taken += problem == "taken"
            if problem not in ("refused", "taken"):
                result.wrong += 1
                print(f"bundle {number} of seed {seed}, {kind}: {problem}", flush=True)
    return result


def make_sound(root: pathlib.Path) -> bytes:
    """Pushes the bundle that others are made from; gives its archive."""
    for name, content in CONTENTS.items():
        (root / "pushed" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "pushed" / name).write_bytes(content)
    tag = Shelf(root / "made").push(root / "pushed", "item", "model")
    return (root / "made/bundles" / f"{tag.digest.removeprefix('sha256:')}.tar").read_bytes()


def fetch(root: pathlib.Path, archive: bytes, digest: str, *, is_sound: bool) -> str:
    """Puts a bundle onto a shelf and fetches it: "refused", "taken", or what was wrong."""
    shelf, cache = root / "shelf", root / "cache"
    place = shelf / "bundles" / f"{digest.removeprefix('sha256:')}.tar"
    tag = shelf / "tags/model/item/latest.json"
    for path in (place, tag):
        path.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(archive)
    tag.write_text(json.dumps({"format": "tokenreel.tag/1", "digest": digest, "bytes": len(archive), "previous": []}))
    before, error, out = snapshot(root, cache), io.StringIO(), io.StringIO()
    arguments = ["fetch", "item", "--type=model", f"--shelf={shelf}", f"--cache-dir={cache}", f"--max-bytes={MAX_BYTES}"]
    with counting() as written, contextlib.redirect_stderr(error), contextlib.redirect_stdout(out):
        try:
            code = commands.main("shelf", arguments)
        except Exception as exception:
            return f"a traceback: {exception!r}"
    place.unlink()
    del before[str(tag)], before[str(place)]
    tag.unlink()
    left = {str(path): content for path, content in snapshot(cache).items()}
    if snapshot(root, cache) != before:
        return "something outside of the cache was changed"
    if sum(written) > MAX_BYTES + len(archive):
        return f"{sum(written):,} bytes were written"
    if code == 0:
        folder = out.getvalue().strip()
        fetched = {path.removeprefix(f"{folder}/"): data for path, data in left.items() if not path.endswith(MANIFEST)}
        for path in sorted(cache.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        return "taken" if is_sound and fetched == CONTENTS else f"taken: {sorted(fetched)}"
    if left or (cache.exists() and any(cache.iterdir())):
        return f"kept {sorted(left)}"
    lines = error.getvalue().splitlines()
    return "refused" if code == 2 and len(lines) == 1 and not is_sound else f"exit {code}: {lines}"


def snapshot(root: pathlib.Path, *without: pathlib.Path) -> dict[str, bytes]:
    """The files below a folder, and where its links lead."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or (path.exists() and not path.is_dir() and not any(path.is_relative_to(other) for other in without)):
            found[str(path)] = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
    return found


@contextlib.contextmanager
def counting() -> Iterator[list[int]]:
    """Counts the bytes that bundles write."""
    written: list[int] = []
    original = bundle._write

    def write(path: str, chunks: Iterable[bytes]) -> str:
        def counted() -> Iterator[bytes]:
            for chunk in chunks:
                written.append(len(chunk))
                yield chunk

        return original(path, counted())

    bundle._write = write
    try:
        yield written
    finally:
        bundle._write = original


def _digest(manifest: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def _entry(name: Any, content: bytes, size: Any = ...) -> dict[str, Any]:
    return {"name": name, "bytes": len(content) if size is ... else size, "sha256": hashlib.sha256(content).hexdigest()}


def _listing(contents: dict[str, bytes], extra: Iterable[dict[str, Any]] = (), **changes: Any) -> bytes:
    """A `bundle.json` in our notation, of sound files and others."""
    entries = [*(_entry(name, content) for name, content in contents.items()), *extra]
    entries.sort(key=lambda entry: str(entry.get("name")).encode("utf-8", "surrogatepass"))
    content = {"files": entries, "format": bundle.FORMAT, **changes}
    return json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True).encode("utf-8", "surrogatepass") + b"\n"


def _member(name: str, content: bytes, size: int | None = None, kind: bytes = b"0", link: str = "", notation: str = "octal") -> bytes:
    """A member of a tar archive, whatever it is called and says of itself."""
    size = len(content) if size is None else size
    number = b"%011o\0" % (size % 8**11) if notation == "octal" else b"\x80" + size.to_bytes(11, "big", signed=True)
    raw = name.encode("utf-8", "surrogatepass")
    short, prefix = (raw, b"") if len(raw) <= 100 else (raw[-100:], raw[:-101][:155])
    before = short.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + number + b"%011o\0" % 0
    after = kind + link.encode().ljust(100, b"\0") + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + prefix.ljust(155, b"\0") + bytes(12)
    return before + b"%06o\0 " % (sum(before) + 256 + sum(after)) + after + content + bytes(-len(content) % 512)


def _archive(manifest: bytes, members: Iterable[bytes], end: bytes = bytes(1024)) -> tuple[bytes, str]:
    return _member(MANIFEST, manifest) + b"".join(members) + end, _digest(manifest)


def _sound_members() -> dict[str, bytes]:
    return {name: _member(f"{FOLDER}/{name}", content) for name, content in CONTENTS.items()}


def names(draw: random.Random, sound: bytes) -> tuple[bytes, str]:
    """A list with a name that leads elsewhere, or that no list has, and a header to match or another."""
    name, content = draw.choice(NAMES), draw.randbytes(draw.randrange(40))
    members = _sound_members()
    header = draw.choice([f"{FOLDER}/{name}", name, f"{FOLDER}/a.txt", f"{FOLDER}/z"])
    members[name] = _member(header, content)
    ordered = [members[each] for each in sorted(members, key=lambda each: each.encode("utf-8", "surrogatepass"))]
    return _archive(_listing(CONTENTS, [_entry(name, content)]), ordered)


def headers(draw: random.Random, sound: bytes) -> tuple[bytes, str]:
    """A sound list, and one header of another name."""
    members = _sound_members()
    name = draw.choice(list(members))
    members[name] = _member(draw.choice([f"{FOLDER}/{other}" for other in NAMES] + NAMES), CONTENTS[name])
    return _archive(_listing(CONTENTS), members.values())


def links(draw: random.Random, sound: bytes) -> tuple[bytes, str]:
    """A sound list; a link, a device or something else in place of a file, or beside the files."""
    members = list(_sound_members().values())
    kind, place = bytes([draw.choice(TYPES)]), draw.randrange(len(members))
    name = draw.choice([f"{FOLDER}/{other}" for other in CONTENTS] + [f"{FOLDER}/b", FOLDER, MANIFEST, "../escaped"])
    odd = _member(name, draw.choice([b"", b"30 path=../escaped\n"]), kind=kind, link=draw.choice(LINKS))
    if draw.random() < 0.5:
        members[place] = odd
    else:
        members.insert(place, odd)
    return _archive(_listing(CONTENTS), members)


def sizes(draw: random.Random, sound: bytes) -> tuple[bytes, str]:
    """A list with a size that is impossible, or too large, or another than in the header, which may be in another notation."""
    size = draw.choice(SIZES)
    content = draw.randbytes(draw.randrange(2000))
    number = size if type(size) is int and abs(size) < 2**80 else len(content)
    notation = draw.choice(["octal", "binary"])
    members = [*_sound_members().values(), _member(f"{FOLDER}/z", content, draw.choice([len(content), number]), notation=notation)]
    if draw.random() < 0.2:  # that of the list itself
        manifest = _listing(CONTENTS)
        return _member(MANIFEST, manifest, number, notation=notation) + b"".join(members) + bytes(1024), _digest(manifest)
    return _archive(_listing(CONTENTS, [_entry("z", content, size)]), members)


def lists(draw: random.Random, sound: bytes) -> tuple[bytes, str]:
    """A list in another notation, of other files, or no list at all."""
    listing = _listing(CONTENTS)
    content = json.loads(listing)
    choices: list[Callable[[], bytes]] = [
        lambda: json.dumps(content).encode(),
        lambda: listing.replace(b"/1", b"/2"),
        lambda: b"[" * draw.randrange(1, 100_000),
        lambda: draw.randbytes(draw.randrange(200)),
        lambda: _listing({}),
        lambda: _listing(CONTENTS, [{"name": "z"}]),
        lambda: _listing(CONTENTS, [{**_entry("z", b""), "link": "/etc/passwd"}]),
        lambda: _listing(CONTENTS, [{**_entry("z", b""), "sha256": draw.choice(["", "0" * 63, "G" * 64, None, 5])}]),
        lambda: _listing(CONTENTS, files=draw.choice([None, {}, "a", [[]], [None], 5, ["a.txt"]])),
        lambda: listing + b" ",
        lambda: listing.replace(b"\n ", b"\n  "),
        lambda: listing.replace(b'"format"', b'"format": "x", "format"'),
        lambda: json.dumps(content["files"]).encode(),
        lambda: _listing(CONTENTS).replace(b"1280", b"9" * 5000),
        lambda: _listing(dict(list(CONTENTS.items())[: draw.randrange(1, 4)])),
    ]
    return _archive(draw.choice(choices)(), _sound_members().values())


def truncated(draw: random.Random, sound: bytes) -> tuple[bytes, str]:
    """The sound bundle, cut anywhere, or with something behind it."""
    digest = _digest(_listing(CONTENTS))
    if draw.random() < 0.2:
        return sound + draw.choice([b"\0", bytes(512), bytes(10240), b"x", sound, _member("../escaped", b"x")]), digest
    return sound[: draw.randrange(len(sound))], digest


def flipped(draw: random.Random, sound: bytes) -> tuple[bytes, str]:
    """The sound bundle, with some bits flipped; some flips undo each other."""
    damaged = bytearray(sound)
    for _ in range(draw.randrange(1, 4)):
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    if draw.random() < 0.05:
        damaged = bytearray(sound)
    return bytes(damaged), _digest(_listing(CONTENTS))


def foreign(draw: random.Random, sound: bytes) -> tuple[bytes, str]:
    """An archive that another program makes: tar in other dialects, compressed, zip, or no archive."""
    manifest, dialect, made = _listing(CONTENTS), draw.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), io.BytesIO()
    kind = draw.randrange(5)
    if kind == 0:
        return gzip.compress(sound), _digest(manifest)
    if kind == 1:
        return draw.randbytes(draw.randrange(4000)), _digest(manifest)
    if kind == 2:
        with zipfile.ZipFile(made, "w") as packed:
            packed.writestr("../escaped", b"x")
        return made.getvalue(), _digest(manifest)
    with tarfile.open(fileobj=made, mode="w", format=dialect) as archive:
        for name, content in {MANIFEST: manifest, **{f"{FOLDER}/{name}": data for name, data in CONTENTS.items()}}.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(content), draw.choice([0, 1.5, 2**40]), draw.choice(["", "\u00fc", "root"])
            info.pax_headers = draw.choice([{}, {"path": "../escaped"}, {"size": "999999999999"}, {"GNU.sparse.major": "1"}])
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue(), _digest(manifest)


def tags(draw: random.Random, sound: bytes) -> tuple[bytes, str]:
    """A sound bundle under the digest of another."""
    return sound, f"sha256:{draw.randbytes(32).hex()}"


KINDS: dict[str, Callable[[random.Random, bytes], tuple[bytes, str]]] = {
    each.__name__: each for each in (names, headers, links, sizes, lists, truncated, flipped, foreign, tags)
}
