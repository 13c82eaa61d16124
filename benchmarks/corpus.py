"""Real text in several languages, and code, for the benchmarks: `python -m benchmarks.corpus DIRECTORY [--megabytes 1000]`.

It comes from Debian's documentation packages (fetched with `apt-get download`, unpacked without being installed), so any Debian machine
makes the same text. Writes DIRECTORY/<kind>.jsonl, one file of a package a line.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import pathlib
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence

KINDS = {
    "english": ["linux-doc-6.1", "git-doc", "postgresql-doc-15", "bible-kjv-text"],
    "dictionary": ["dict-gcide", "wamerican-huge"],
    "german": ["manpages-de"],
    "french": ["manpages-fr"],
    "russian": ["manpages-ru"],
    "japanese": ["manpages-ja", "debian-reference-ja"],
    "chinese": ["manpages-zh", "debian-reference-zh-cn"],
    "code": ["linux-source-6.1"],
}
# Smaller ones, of which nothing else is made: for `benchmarks.gigatoken_race`.
SMALL = {
    "english": ["manpages", "manpages-dev"],
    "html": ["git-doc"],
    "python": ["libpython3.11-stdlib"],
    "korean": ["installation-guide-amd64/ko/"],
    "chinese": ["manpages-zh", "debian-reference-zh-cn"],
}
_BINARY = (".png", ".jpg", ".svg", ".gif", ".pdf", ".js", ".css", ".woff", ".ico")


def package_files(package: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a package's files, compressed ones and archives unpacked."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True, stderr=subprocess.DEVNULL)
        (archive,) = pathlib.Path(folder).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(archive), folder], check=True)
        archive.unlink()
        for path in sorted(pathlib.Path(folder).rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            name = str(path.relative_to(folder))
            if ".tar." in path.name:
                with tarfile.open(path) as inner:
                    for member in inner:
                        file = inner.extractfile(member) if member.isfile() else None
                        if file is not None:
                            yield f"{name}/{member.name}", file.read()
            elif path.suffix in (".gz", ".dz"):
                yield name, gzip.decompress(path.read_bytes())
            elif path.suffix == ".xz":
                yield name, lzma.decompress(path.read_bytes())
            else:
                yield name, path.read_bytes()


def texts(packages: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and texts of packages; files over 200 kB are cut at paragraphs into documents of about 4 kB.

    Args:
      packages: their names; behind a slash, what the names of their files must hold.
    """
    for named in packages:
        package, slash, part = named.partition("/")
        for name, data in package_files(package):
            if name.endswith(_BINARY) or b"\0" in data[:4096] or slash + part not in name:
                continue
            try:
                text = data.decode()
            except UnicodeDecodeError:
                continue
            if len(text) < 200_000:
                yield name, text
                continue
            start = number = 0
            while start < len(text):
                end = text.find("\n\n", start + 4000) + 2
                end = end if end > 1 else len(text)
                yield f"{name}:{number}", text[start:end]
                start, number = end, number + 1


def write(packages: Sequence[str], path: pathlib.Path, limit: int) -> int:
    """Writes what `texts` yields as JSON lines until `limit` bytes of text; returns the bytes written."""
    size = 0
    with open(path, "w", encoding="utf-8") as file:
        for name, text in texts(packages):
            if size >= limit:
                break
            if text.strip():
                file.write(json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n")
                size += len(text.encode())
    return size


def default_corpus(work: pathlib.Path) -> pathlib.Path:
    """Makes a corpus of all kinds in a directory, or finds the one made before; returns its path."""
    path = work / "corpus"
    if not path.exists():
        part = work / "corpus.part"
        subprocess.run([sys.executable, "-m", "benchmarks.corpus", str(part)], check=True)
        part.rename(path)
    return path


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument(
        "--megabytes", type=int, default=1000, help="at most so much text, shared evenly; kinds with less give what they have"
    )
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    left = arguments.megabytes * 1_000_000
    for done, kind in enumerate(arguments.kinds):
        share = left // (len(arguments.kinds) - done)
        size = write(KINDS[kind], arguments.directory / f"{kind}.jsonl", share)
        left -= size
        print(f"{kind}: {size / 1e6:,.1f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
