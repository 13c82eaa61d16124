"""The programs of the trainer's wheel: whatever goes wrong is one message, and the same one as under the job's command."""

import dataclasses
import errno
import importlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tokenreel
from pipelines import cli
from tests import verification_datasets as datasets
from tokenreel import commands
from tokenreel.errors import BuildError, ConfigError, StorageError
from tokenreel.format import naming, schema, tfrecord

PROJECT = tomllib.loads((pathlib.Path(__file__).parents[3] / "tokenreel/pyproject.toml").read_text(encoding="utf-8"))
ARGUMENTS = {"where": ["--batch-size", "8", "--step", "0"], "when": ["--batch-size", "8", "--example", "0"]}
NAMES = ["inspect", "report", "verify", "when", "where"]


def program(name):
    """What the wheel's script of the name calls."""
    module, function = PROJECT["project"]["scripts"][f"tokenreel-{name}"].split(":")
    return getattr(importlib.import_module(module), function)


def test_every_command_is_a_program_and_in_the_job():
    known = sorted([*NAMES, "shelf"])  # tests/tokenreel/shelf/test_shelf.py
    assert sorted(commands.COMMANDS) == known
    assert sorted(PROJECT["project"]["scripts"]) == [f"tokenreel-{name}" for name in known]
    assert commands.COMMANDS.items() <= cli.COMMANDS.items()


@pytest.mark.parametrize("name", NAMES)
def test_a_package_that_is_missing_is_one_line(name, monkeypatch, capsys):
    """A trainer without google-cloud-storage: it was 40 lines of traceback."""
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    arguments = ["gs://some-bucket/dataset", *ARGUMENTS.get(name, [])]
    for run, prefix in ((program(name), f"tokenreel-{name}"), (lambda given: cli.main([name, *given]), "tokenreel")):
        code, shown = run(arguments), capsys.readouterr()
        assert code == 2 and shown.out == ""
        assert shown.err == f"{prefix}: error: gs:// paths need google-cloud-storage: pip install google-cloud-storage\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_directory_that_is_no_dataset_is_one_line(name, tmp_path, capsys):
    arguments = [str(tmp_path / "nothing"), *ARGUMENTS.get(name, [])]
    found = []
    for run in (program(name), lambda given: cli.main([name, *given])):
        code, shown = run(arguments), capsys.readouterr()
        text = (shown.out + shown.err).replace(f"tokenreel-{name}: ", "tokenreel: ")
        assert "no manifest.json here" in text and "Traceback" not in text
        found.append((code, text))
    assert found[0] == found[1]
    assert found[0][0] == (1 if name == "verify" else 2)  # what verify finds is its answer


@pytest.fixture(scope="module")
def wrong_places(tmp_path_factory):
    """What people give for a dataset, by what it is."""
    folder = tmp_path_factory.mktemp("wrong")
    datasets.make(folder / "sound")
    sound = (folder / "sound/manifest.json").read_bytes()
    (folder / "file").write_text("text")
    (folder / "empty_file").write_bytes(b"")
    (folder / "manifest_is_a_folder/manifest.json").mkdir(parents=True)
    manifests = {"empty": b"", "cut": sound[: len(sound) // 2], "list": b"[]", "object": b"{}", "bytes": b"\xff\xfe\0"}
    for name, content in manifests.items():
        (folder / name).mkdir()
        (folder / name / "manifest.json").write_bytes(content)
    for name in ("empty_folder", "other_folder"):
        (folder / name).mkdir()
    (folder / "other_folder/notes.txt").write_text("text")
    return [*(path for path in folder.iterdir() if path.name != "sound"), folder / "missing", folder / "file/below"]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_given_for_a_dataset_is_one_line(name, wrong_places, capsys):
    """`inspect` of a file was a raw NotADirectoryError."""
    for place in wrong_places:
        code = cli.main([name, str(place), *ARGUMENTS.get(name, [])])
        shown = capsys.readouterr()
        assert code == (1 if name == "verify" else 2), place
        lines = (shown.out + shown.err).splitlines()
        assert str(place) in lines[0] and len(lines) == (2 if name == "verify" else 1), lines


def test_a_report_needs_a_file(wrong_places, tmp_path, capsys):
    datasets.make(tmp_path / "dataset")
    (tmp_path / "pages").mkdir()
    assert cli.main(["report", str(tmp_path / "dataset"), "--output", str(tmp_path / "pages")]) == 2
    said = (
        f"--output {tmp_path}/pages: a directory, and the report is one page. Name the file to write, such as {tmp_path}/pages/report.html."
    )
    assert capsys.readouterr().err == f"tokenreel: error: {said}\n"
    (tmp_path / "file").write_text("mine")
    assert cli.main(["report", str(tmp_path / "dataset"), "--output", str(tmp_path / "file/below.html")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "file") in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["where", "--batch-size", "8", "--step", "-1"],
        ["where", "--batch-size", "8", "--step", "9" * 30],
        ["where", "--batch-size", "9" * 30, "--step", "0"],
        ["where", "--batch-size", "0", "--step", "0"],
        ["when", "--batch-size", "8", "--example", "0", "--limit", "0"],
        ["inspect", "--count", "-1"],
        ["inspect", "--count", "many"],
    ],
)
def test_impossible_numbers_are_refused(arguments, tmp_path, capsys):
    datasets.make(tmp_path / "dataset")
    with pytest.raises(SystemExit) as caught:
        cli.main([arguments[0], str(tmp_path / "dataset"), *arguments[1:]])
    assert caught.value.code == 2
    assert "whole number" in capsys.readouterr().err.splitlines()[-1]


def test_a_document_is_not_looked_for_without_tables(tmp_path, capsys):
    datasets.make(tmp_path / "dataset")
    shutil.rmtree(tmp_path / "dataset/provenance")
    assert cli.main(["when", str(tmp_path / "dataset"), "--batch-size", "8", "--document", "d"]) == 2
    assert "has no provenance tables" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["where", "--step", "0"], ["when", "--document", "d"]])
def test_documents_need_pyarrow(arguments, tmp_path, monkeypatch, capsys):
    datasets.make(tmp_path / "dataset")
    for module in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    assert commands.main(arguments[0], [str(tmp_path / "dataset"), "--batch-size", "8", *arguments[1:]]) == 2
    said = "the documents of an example stand in Parquet tables, which need pyarrow: pip install pyarrow"
    assert capsys.readouterr().err == f"tokenreel-{arguments[0]}: error: {said}\n"


@pytest.mark.parametrize("name", NAMES)
def test_programs_and_job_do_the_same(name, tmp_path, capsys):
    datasets.make(tmp_path / "dataset")
    arguments = [str(tmp_path / "dataset"), *ARGUMENTS.get(name, []), *(["--quiet"] if name == "verify" else [])]
    assert program(name)(arguments) == 0
    first = capsys.readouterr().out
    assert cli.main([name, *arguments]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("a mistake"), 2, "p: error: a mistake\n"),
        (StorageError("https://host/o?upload_id=AB12 failed"), 1, "p: error: https://host/o?[redacted] failed\n"),
        (BuildError("a failure"), 1, "p: error: a failure\n"),
        (ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow"), 2, "p: error: No module named 'pyarrow': pip install pyarrow\n"),
        (StorageError("there is no bucket b", 404), 2, "p: error: there is no bucket b\n"),
        (OSError(28, "No space left on device", "a/b"), 1, "p: error: a/b: No space left on device\n"),
        (KeyboardInterrupt(), 130, "p: interrupted\n"),
    ],
)
def test_what_is_raised_becomes_a_message_and_a_code(error, code, message, capsys):
    def run():
        raise error

    assert commands.exit_code("p", run) == code
    assert capsys.readouterr().err == message


def test_debug_prints_where_an_error_was_raised(capsys):
    def run():
        raise ConfigError("a mistake")

    assert commands.exit_code("p", run, debug=True) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback") and "test_main.py" in shown and shown.endswith("p: error: a mistake\n")


@pytest.mark.parametrize("error", [ValueError("ours"), ModuleNotFoundError("ours", name="tokenreel.nonsense")])
def test_our_own_faults_are_not_hidden(error):
    def run():
        raise error

    with pytest.raises(type(error)):
        commands.exit_code("p", run)


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u2066\r\x9b31m"


def _name_documents(directory: pathlib.Path, hostile: str) -> None:
    """Gives all documents of a dataset hostile ids, sources and titles, as text from the web may have them."""
    for table in sorted((directory / "provenance").glob("*.parquet")):
        rows = pq.read_table(table)
        for name in ("doc_id", "source", "meta.title"):
            values = pa.array([f"{hostile}\nforged line {name}"] * len(rows))
            index = rows.column_names.index(name) if name in rows.column_names else None
            rows = rows.append_column(name, values) if index is None else rows.set_column(index, name, values)
        pq.write_table(rows, table)
    datasets.sign(directory)


def test_no_output_steers_the_terminal(tmp_path, capsys):
    directory = tmp_path / "dataset"
    datasets.make(directory, documents={"train": 20}, dead_letters=1)
    letter = {"source": HOSTILE, "file": HOSTILE, "line": 1, "reason": "x", "message": HOSTILE}
    (directory / naming.DEAD_LETTERS).write_text(json.dumps(letter) + "\n")
    _name_documents(directory, HOSTILE)
    where = ["where", str(directory), "--batch-size", "2", "--step", "0", "--text"]
    for arguments, code in (
        (where, 0),
        ([*where, "--json"], 0),
        (["inspect", str(directory), "--provenance"], 0),
        (["inspect", f"{directory}/{HOSTILE}"], 2),
        (["when", str(directory), "--batch-size", "2", "--document", HOSTILE], 2),
        (["report", str(directory)], 0),
        (["verify", f"{directory}/{HOSTILE}"], 1),
        (["build", f"{directory}/{HOSTILE}.yaml"], 2),
    ):
        assert cli.main(arguments) == code, arguments
        shown = capsys.readouterr()
        for text in (shown.out, shown.err, (directory / "report.html").read_text() if arguments[0] == "report" else ""):
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), (arguments, text)
            assert not re.search(r"^\s*forged line", text, re.MULTILINE), (arguments, text)
        assert "owned" in shown.out + shown.err or arguments[0] == "report"


def test_a_message_does_not_fill_the_terminal(capsys):
    def fail():
        raise ConfigError("x" * 100_000)

    assert commands.exit_code("p", fail) == 2
    assert capsys.readouterr().err == f"p: error: {'x' * 4000} ... (96,000 more characters)\n"


@pytest.mark.parametrize("length", [1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_forged_length_costs_no_memory(length, tmp_path, capsys):
    """`verify` and `inspect` of lists with such a length were a MemoryError."""
    datasets.make(tmp_path, record_format="int64_list", documents={"train": 20})
    shard = next(path for path in sorted(tmp_path.iterdir()) if naming.is_shard(path.name))
    shard.write_bytes(tfrecord.header(length) + shard.read_bytes()[tfrecord.HEADER_BYTES :])
    datasets.sign(tmp_path)
    said = f"{shard.name}: record 0 at byte 0: it says that it has {length:,} bytes; a record of these features has at most"
    assert cli.main(["inspect", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert cli.main(["verify", str(tmp_path)]) == 1
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("record_format", ["fixed", "int64_list"])
def test_an_exchanged_or_damaged_record_is_no_example(record_format, tmp_path, capsys):
    datasets.make(tmp_path, record_format=record_format)
    first, second = [path for path in sorted(tmp_path.iterdir()) if naming.is_shard(path.name)][:2]
    whole, other = first.read_bytes(), second.read_bytes()
    if len(whole) == len(other):
        first.write_bytes(other)
        assert cli.main(["inspect", str(tmp_path), "--count", "1"]) == 1
        assert "it holds example 10, expected 0: shards were exchanged" in capsys.readouterr().out
    first.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    assert cli.main(["inspect", str(tmp_path), "--count", "1"]) == (1 if record_format == "fixed" else 2)
    shown = capsys.readouterr()
    assert "its CRC does not match its bytes" in shown.err or "this record is damaged" in shown.out


def test_records_have_the_fields_of_the_manifest(tmp_path, capsys):
    """A forged manifest without one was a TypeError of `inspect`."""
    made = datasets.make(tmp_path, record_format="int64_list", documents={"train": 20})
    fewer = tuple(feature for feature in made.features if feature.name != schema.NUM_TOKENS)
    (tmp_path / naming.MANIFEST).write_text(dataclasses.replace(made, features=fewer).to_text())
    assert cli.main(["inspect", str(tmp_path)]) == 2
    assert "it holds document_starts, example_id, num_tokens, tokens, the manifest lists document_starts" in capsys.readouterr().err


def test_a_state_of_brackets_in_brackets_is_no_state(tmp_path, capsys):
    datasets.make(tmp_path / "d")
    (tmp_path / "state.json").write_text("[" * 100_000)
    assert cli.main(["where", str(tmp_path / "d"), "--batch-size", "8", "--step", "0", "--state", str(tmp_path / "state.json")]) == 2
    assert "state.json: cannot be read as JSON" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EMFILE, errno.EIO, errno.ELOOP])
def test_what_the_system_refuses_is_one_line_with_a_way_out(number, tmp_path, monkeypatch, capsys):
    """Read-only directories and few descriptors were raw OSErrors of `load`."""
    datasets.make(tmp_path / "d")

    def refuse(path, *arguments, **options):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(StorageError, match=rf"{tmp_path}/d: {os.strerror(number)}\. \w+"):
        tokenreel.load(tmp_path / "d")
    monkeypatch.undo()
    monkeypatch.setattr("tokenreel.storage.files.write_atomic", refuse)
    assert cli.main(["report", str(tmp_path / "d")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"tokenreel: error: .*report\.html: {os.strerror(number)}\. .+", line)


@pytest.mark.parametrize("ends", [False, True])
def test_the_end_of_a_command_that_ends_its_process_takes_no_time(ends):
    """To look for garbage while Beam is imported, and before the interpreter ends, took 0.7 s of a build of twenty documents."""
    script = f"import gc; from pipelines import cli; cli.main(['init'], ends={ends}); print(gc.isenabled(), gc.get_freeze_count() > 1000)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"True {ends}"
