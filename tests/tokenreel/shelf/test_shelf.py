"""The shelf, on a disk and in a bucket: what was pushed is fetched, tags move or stay, and nothing half is ever seen."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import re
import signal

import pytest

from pipelines import cli
from tests import buckets
from tests.tokenreel.shelf.test_bundle import write
from tokenreel import commands
from tokenreel.errors import ConfigError, ShelfError, StorageError
from tokenreel.shelf import Shelf, bundle
from tokenreel.storage import files, gcs, gcs_writer

CONTENTS = {"characters.json": b"{}", "weights/layer.npy": b"\1\2" * 5000}


@pytest.fixture(params=["disk", "bucket"])
def root(request, tmp_path, monkeypatch):
    if request.param == "disk":
        yield str(tmp_path / "shelf")
        return
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.005)
    monkeypatch.setattr(gcs, "PATIENCE", 1.0)
    with buckets.storage() as address:
        yield f"{address}/shelf"


def contents(folder: str) -> dict[str, bytes]:
    return {name: files.read_bytes(os.path.join(folder, name)) for name in files.list_files(folder)}


def test_what_was_pushed_is_fetched(root, tmp_path):
    shelf, folder = Shelf(root), write(tmp_path / "in", CONTENTS)
    assert shelf.list() == []
    pushed = shelf.push(folder, "english", "vocabulary", tag="v1")
    assert shelf.list() == [pushed] == [shelf.resolve("english", "vocabulary", "v1")]
    fetched = shelf.fetch("english", "vocabulary", tag="v1", cache_dir=tmp_path / "cache")
    assert contents(fetched) == CONTENTS
    assert shelf.fetch("english", "vocabulary", tag=pushed.digest, cache_dir=tmp_path / "cache") == fetched
    one = shelf.push(folder / "characters.json", "one", "config")
    assert contents(shelf.fetch("one", "config", cache_dir=tmp_path / "cache")) == {"characters.json": b"{}"}
    assert shelf.list() == [one, pushed]


def test_the_same_contents_are_stored_once(root, tmp_path):
    shelf, folder = Shelf(root), write(tmp_path / "in", CONTENTS)
    first, second = shelf.push(folder, "a", "model"), shelf.push(folder, "b", "model", tag="v2")
    assert first.digest == second.digest
    (name,) = files.list_files(f"{root}/bundles")
    assert files.size(f"{root}/bundles/{name}") == first.bytes


def test_a_bundle_that_the_disk_damaged_is_pushed_again(root, tmp_path):
    shelf, folder = Shelf(root), write(tmp_path / "in", CONTENTS)
    digest = shelf.push(folder, "a", "model").digest
    path = f"{root}/bundles/{digest.removeprefix('sha256:')}.tar"
    sound = files.read_bytes(path)
    for damaged in (sound[:-1], sound[:2000] + b"\7" + sound[2001:]):
        files.write_bytes(path, damaged)
        with pytest.raises(ShelfError, match=r"\.tar: .*Nothing of it was kept"):
            shelf.fetch("a", "model", cache_dir=tmp_path / "cache")
        shelf.push(folder, "a", "model")
        assert files.read_bytes(path) == sound
    assert not any((tmp_path / "cache").iterdir())


def test_tags_move_and_remember(root, tmp_path):
    shelf = Shelf(root)
    digests = []
    for number in range(3):
        digests.append(shelf.push(write(tmp_path / "in", {"n": b"%d" % number}), "a", "model").digest)
    assert shelf.list()[0].previous == (digests[1], digests[0])
    assert contents(shelf.fetch("a", "model", cache_dir=tmp_path / "cache")) == {"n": b"2"}
    back = shelf.push(write(tmp_path / "in", {"n": b"0"}), "a", "model", replaces=digests[2])
    assert (back.digest, back.previous) == (digests[0], (digests[2], digests[1]))
    with pytest.raises(ShelfError, match=f"names {digests[0]}, not {digests[2]}: somebody moved it"):
        shelf.push(write(tmp_path / "in", {"n": b"5"}), "a", "model", replaces=digests[2])
    assert shelf.list() == [back]
    shelf.push(write(tmp_path / "in", {"n": b"5"}), "new", "model", replaces="nothing")
    with pytest.raises(ShelfError, match="not nothing"):
        shelf.push(write(tmp_path / "in", {"n": b"6"}), "new", "model", replaces="nothing")


def test_of_many_that_replace_the_same_bundle_one_does(root, tmp_path):
    shelf = Shelf(root)
    first = shelf.push(write(tmp_path / "in", CONTENTS), "a", "model").digest

    def push(number: int) -> str | None:
        try:
            return shelf.push(write(tmp_path / str(number), {"n": b"%d" % number}), "a", "model", replaces=first).digest
        except ShelfError:
            return None

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        (moved,) = filter(None, pool.map(push, range(8)))
    assert shelf.resolve("a", "model").digest == moved and shelf.resolve("a", "model").previous == (first,)


def test_no_move_of_a_tag_is_lost(root, tmp_path):
    shelf = Shelf(root)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        pushed = list(pool.map(lambda n: shelf.push(write(tmp_path / str(n), {"n": b"%d" % n}), "a", "model").digest, range(8)))
    found = shelf.resolve("a", "model")
    assert sorted([found.digest, *found.previous]) == sorted(pushed)


def test_a_lock_file_pins_what_was_fetched_first(root, tmp_path):
    shelf, lock, cache = Shelf(root), tmp_path / "shelf.lock", tmp_path / "cache"
    first = shelf.push(write(tmp_path / "in", {"n": b"1"}), "a", "model").digest
    assert contents(shelf.fetch("a", "model", cache_dir=cache, lock=lock)) == {"n": b"1"}
    assert json.loads(lock.read_text())["items"] == {"model/a@latest": first}
    second = shelf.push(write(tmp_path / "in", {"n": b"2"}), "a", "model").digest
    assert contents(shelf.fetch("a", "model", cache_dir=tmp_path / "other", lock=lock)) == {"n": b"1"}
    assert contents(shelf.fetch("a", "model", cache_dir=cache)) == {"n": b"2"}
    assert contents(shelf.fetch("a", "model", cache_dir=cache, lock=lock, update=True)) == {"n": b"2"}
    assert json.loads(lock.read_text())["items"] == {"model/a@latest": second}


def test_what_cannot_be_fetched_is_not_pinned(root, tmp_path):
    shelf, lock = Shelf(root), tmp_path / "shelf.lock"
    shelf.push(write(tmp_path / "in", CONTENTS), "a", "model")
    with pytest.raises(ShelfError, match="the limit is 5"):
        shelf.fetch("a", "model", cache_dir=tmp_path / "cache", lock=lock, max_bytes=5)
    assert not lock.exists() and not any((tmp_path / "cache").iterdir())


def test_a_push_that_fails_changes_nothing(root, tmp_path, monkeypatch):
    """At each write: of any part of the bundle, and of the tag."""
    monkeypatch.setattr(gcs_writer, "UPLOAD_BYTES", 1 << 18)  # several parts
    shelf = Shelf(root)
    before = shelf.push(write(tmp_path / "in", {"n": b"1"}), "a", "model")
    write(tmp_path / "in", {"n": os.urandom(700_000), "m": b"2"})
    original = bundle.pack
    for failing in range(8):

        def pack(*arguments, failing=failing):
            for number, chunk in enumerate(original(*arguments)):
                if number == failing:
                    raise OSError("the machine fails")
                yield chunk

        monkeypatch.setattr(bundle, "pack", pack)
        with pytest.raises(OSError, match="the machine fails"):
            shelf.push(tmp_path / "in", "a", "model")
        assert shelf.list() == [before] and len(files.list_files(f"{root}/bundles")) == 1
    monkeypatch.setattr(bundle, "pack", original)
    monkeypatch.setattr("tokenreel.storage.replacing.replace", lambda *arguments: pytest.fail("the machine fails"))
    with pytest.raises(pytest.fail.Exception):
        shelf.push(tmp_path / "in", "a", "model")
    assert shelf.list() == [before]
    assert contents(shelf.fetch("a", "model", cache_dir=tmp_path / "cache")) == {"n": b"1"}


def test_a_push_that_is_killed_changes_nothing(tmp_path):
    shelf, folder = Shelf(tmp_path / "shelf"), write(tmp_path / "in", {"n": b"1"})
    before = shelf.push(folder, "a", "model")
    write(folder, {"n": b"2" * 10_000})
    for writes in range(1, 8):
        child = os.fork()
        if not child:
            original = bundle.pack

            def pack(*arguments, original=original, writes=writes):
                for number, chunk in enumerate(original(*arguments), start=1):
                    yield chunk
                    if number == writes:
                        os.kill(os.getpid(), signal.SIGKILL)

            bundle.pack = pack
            shelf.push(folder, "a", "model")
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert shelf.list() == [before]
        assert len([name for name in files.list_files(f"{shelf.root}/bundles") if name.endswith(".tar")]) == 1
    left = list((tmp_path / "shelf/bundles").glob("*.tmp-*"))
    assert left
    for path in left:
        os.utime(path, (0, 0))
    shelf.push(folder, "a", "model")
    assert sorted(path.suffix for path in (tmp_path / "shelf/bundles").iterdir()) == [".tar", ".tar"]


def test_a_bucket_whose_requests_fail_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.005)
    with buckets.server() as server:
        shelf = Shelf(f"gs://{buckets.BUCKET}/shelf")
        server.every(3, 503, buckets.DROP)
        pushed = shelf.push(write(tmp_path / "in", CONTENTS), "a", "model", replaces="nothing")
        assert contents(shelf.fetch("a", "model", cache_dir=tmp_path / "cache")) == CONTENTS
        server.calm()
        assert shelf.list() == [pushed]
        monkeypatch.setattr(gcs, "PATIENCE", 0.05)
        server.every(1, 503)
        with pytest.raises(StorageError, match="kept failing"):
            shelf.fetch("a", "model", cache_dir=tmp_path / "other")
        assert not any((tmp_path / "other").glob("sha256*"))


def test_folders_of_a_bucket_are_pushed(tmp_path):
    with buckets.storage() as address:
        buckets.upload(write(tmp_path / "in", CONTENTS), f"{address}/data")
        shelf = Shelf(tmp_path / "shelf")
        there = shelf.push(f"{address}/data", "a", "dataset")
        assert there.digest == shelf.push(tmp_path / "in", "b", "dataset").digest
        shelf.push(f"{address}/data/characters.json", "one", "config")
        assert contents(shelf.fetch("one", "config", cache_dir=tmp_path / "cache")) == {"characters.json": b"{}"}


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", "a b", ".hidden", "x" * 101, "a\n", "\u00fc", "sha256:" + "0" * 64])
def test_impossible_names_are_refused(name, tmp_path):
    shelf, folder = Shelf(tmp_path / "shelf"), write(tmp_path / "in", CONTENTS)
    for identifier, item_type, tag in ((name, "model", "v1"), ("a", name, "v1"), ("a", "model", name)):
        with pytest.raises(ConfigError, match="types, identifiers and tags"):
            shelf.push(folder, identifier, item_type, tag=tag)
    with pytest.raises(ConfigError, match="types, identifiers and tags"):
        shelf.fetch(name, "model", cache_dir=tmp_path / "cache")
    assert not (tmp_path / "shelf").exists() and not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"[" * 100_000, b'{"format": "tokenreel.tag/2"}']
    + [json.dumps({"format": "tokenreel.tag/1", "bytes": 5, "digest": d, "previous": []}).encode() for d in ("sha256:../x", "", None, 5)]
    + [b'{"format": "tokenreel.tag/1", "bytes": "5", "digest": "sha256:%s", "previous": []}' % (b"0" * 64)],
)
def test_damaged_tags_are_one_line(content, tmp_path):
    shelf = Shelf(tmp_path / "shelf")
    (tag,) = [tmp_path / "shelf/tags/model/a/latest.json"]
    tag.parent.mkdir(parents=True)
    tag.write_bytes(content)
    for ask in (lambda: shelf.fetch("a", "model", cache_dir=tmp_path / "cache"), shelf.list):
        with pytest.raises(ShelfError, match=r"latest\.json: (no tag|a tag of format)"):
            ask()


def test_what_is_not_there_is_one_line(tmp_path):
    shelf = Shelf(tmp_path / "shelf")
    with pytest.raises(ShelfError, match="has no model 'a' with tag 'latest'"):
        shelf.fetch("a", "model", cache_dir=tmp_path / "cache")
    with pytest.raises(ShelfError, match="no such bundle"):
        shelf.fetch("a", "model", tag="sha256:" + "0" * 64, cache_dir=tmp_path / "cache")
    with pytest.raises(ConfigError, match="no file here"):
        shelf.push(tmp_path / "nothing", "a", "model")


def test_the_environment_names_a_shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKENREEL_SHELF", str(tmp_path / "shelf"))
    Shelf().push(write(tmp_path / "in", CONTENTS), "a", "model")
    assert [tag.identifier for tag in Shelf(tmp_path / "shelf").list()] == ["a"]
    monkeypatch.delenv("TOKENREEL_SHELF")
    with pytest.raises(ConfigError, match="which shelf"):
        Shelf()


@pytest.mark.parametrize("run", [lambda given: commands.main("shelf", given), lambda given: cli.main(["shelf", *given])])
def test_the_command(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TOKENREEL_SHELF", str(tmp_path / "shelf"))
    folder = write(tmp_path / "in", CONTENTS)
    assert run(["push", str(folder), "english", "--type", "vocabulary", "--tag", "v1"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("vocabulary english@v1  sha256:")
    assert run(["list"]) == 0
    assert capsys.readouterr().out == line
    assert run(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identifier"] == "english"
    given = ["fetch", "english", "--type", "vocabulary", "--cache-dir", str(tmp_path / "cache"), "--lock", str(tmp_path / "shelf.lock")]
    assert run([*given, "--tag", "v1"]) == 0
    assert contents(capsys.readouterr().out.strip()) == CONTENTS
    assert (tmp_path / "shelf.lock").exists()
    assert run(given) == 2
    assert "has no vocabulary 'english' with tag 'latest'" in capsys.readouterr().err
    assert run([*given, "--tag", "v1", "--update", "--max-bytes", "3"]) == 0  # it is there already
    assert run(["push", str(folder), "english", "--type", "vocabulary", "--tag", "v1", "--replaces", "nothing"]) == 0  # it is moved already
    assert run(["push", str(folder / "characters.json"), "english", "--type", "vocabulary", "--tag", "v1", "--replaces", "nothing"]) == 2
    assert "somebody moved it" in capsys.readouterr().err


def test_the_page(tmp_path, monkeypatch, capsys):
    """Its commands, on a disk, and its program."""
    text = (pathlib.Path(__file__).parents[3] / "docs/shelf.md").read_text(encoding="utf-8")
    (commands_shown,), (program,) = (re.findall(rf"^```{kind}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) for kind in ("sh", "python"))
    write(tmp_path / "tokenizers/characters", CONTENTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENREEL_SHELF", "first")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    lines = re.findall(r"^tokenreel (.*)$", commands_shown, re.MULTILINE)
    assert [cli.main(line.split()) for line in lines] == [0, 0, 0]
    assert contents(capsys.readouterr().out.splitlines()[-1]) == CONTENTS
    names: dict[str, str] = {}
    exec(compile(program, "shelf.md", "exec"), names)
    assert contents(names["folder"]) == CONTENTS
