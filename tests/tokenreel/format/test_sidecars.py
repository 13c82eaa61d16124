import os
import shutil

import pytest

from tests import verification_datasets as datasets
from tests.datasets import random_examples, write_dataset
from tokenreel import commands, load
from tokenreel.errors import ManifestError, StorageError
from tokenreel.format import manifest, naming, sidecars
from tokenreel.loaders import Mixture
from tokenreel.vocabularies.characters import write_character_model

LETTERS = sorted({letter for text in datasets.texts(100) for letter in text})


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    directory = tmp_path_factory.mktemp("original")
    write_character_model(str(directory / "model.json"), LETTERS, "none")
    datasets.make(directory / "d", vocabulary=("characters", str(directory / "model.json")), dead_letters=2)
    return directory / "d"


@pytest.fixture
def dataset(original, tmp_path):
    return shutil.copytree(original, tmp_path / "d")


def flip(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_file_is_what_the_manifest_says(dataset):
    found = manifest.read(str(dataset))
    for info in found.files:
        assert sidecars.read(str(dataset), found, info.file) == (dataset / info.file).read_bytes()
        flip(dataset / info.file)
        with pytest.raises(ManifestError, match=rf"{info.file}: crc32c is 0x\w+, the manifest says 0x\w+"):
            sidecars.read(str(dataset), found, info.file)
        (dataset / info.file).write_bytes(b"longer" + (dataset / info.file).read_bytes())
        with pytest.raises(ManifestError, match=rf"{info.file}: [\d,]+ bytes, the manifest says"):
            sidecars.read(str(dataset), found, info.file)
        (dataset / info.file).unlink()
        with pytest.raises(FileNotFoundError, match=rf"{info.file}: cannot be read: missing, though the manifest lists it"):
            sidecars.read(str(dataset), found, info.file)


def test_a_file_that_is_not_listed_is_none(dataset):
    (dataset / "notes.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match="lists none of this name"):
        sidecars.read(str(dataset), manifest.read(str(dataset)), "notes.txt")


def test_a_large_file_is_compared_once_and_when_it_was_written_again(dataset, monkeypatch):
    found, counted = manifest.read(str(dataset)), []
    monkeypatch.setattr(sidecars, "_LARGE_BYTES", 0)
    crc_of = sidecars._crc_of
    monkeypatch.setattr(sidecars, "_crc_of", lambda file: counted.append(1) or crc_of(file))
    for _ in range(3):
        sidecars.read(str(dataset), found, naming.STATISTICS)
    assert len(counted) == 1
    flip(dataset / naming.STATISTICS)
    os.utime(dataset / naming.STATISTICS, ns=(1, 1))
    with pytest.raises(ManifestError, match="crc32c"):
        sidecars.read(str(dataset), found, naming.STATISTICS)


def test_what_cannot_be_read_is_said_in_a_line(dataset, monkeypatch):
    found = manifest.read(str(dataset))

    def refuse(path, mode):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(StorageError, match=r"statistics\.json: Permission denied\. Give a path that this user may read"):
        sidecars.read(str(dataset), found, naming.STATISTICS)


def test_a_replaced_vocabulary_is_noticed_by_whoever_opens_the_dataset(dataset, capsys):
    opened = load(dataset)
    write_character_model(str(dataset / "vocabulary.json"), LETTERS[::-1], "none")  # of the same size
    with pytest.raises(ManifestError, match=r"vocabulary\.json: crc32c"):
        opened.vocabulary()
    with pytest.raises(ManifestError, match=r"vocabulary\.json: crc32c"):
        load(dataset)
    for command in (["inspect"], ["where", "--batch-size", "2", "--step", "0", "--text"], ["report"]):
        assert commands.main(command[0], [str(dataset), *command[1:]]) == 2
        assert "vocabulary.json: crc32c" in capsys.readouterr().err


def test_a_dataset_without_its_vocabulary_still_trains(dataset):
    (dataset / "vocabulary.json").unlink()
    assert len(load(dataset)[0]["tokens"]) == 32
    with pytest.raises(ManifestError, match=r"vocabulary\.json: cannot be read: missing"):
        load(dataset).vocabulary()


def test_damaged_provenance_names_no_document(dataset, capsys):
    """95 of 600 flips named other documents, 339 showed tracebacks."""
    table = dataset / naming.provenance("train", 0, 16)
    size = table.stat().st_size
    sound = table.read_bytes()
    for place in range(0, size, size // 40):
        flip(table, place)
        for arguments in (["where", "--batch-size", "2", "--step", "0", "--no-shuffle"], ["inspect", "--provenance"]):
            assert commands.main(arguments[0], [str(dataset), *arguments[1:]]) == 2
            shown = capsys.readouterr()
            assert shown.out == "" and f"{table.name}: crc32c" in shown.err and len(shown.err.splitlines()) == 1
        table.write_bytes(sound)


def test_statistics_that_were_altered_mix_nothing(tmp_path):
    told = {"splits": {"train": {"tokens_in_examples": 100, "examples": 10}}}
    write_dataset(tmp_path / "d", {"train": random_examples(10, 8, padded=True)}, statistics=told)
    Mixture({"a": load(tmp_path / "d")})
    path = tmp_path / "d" / naming.STATISTICS
    path.write_text(path.read_text().replace("100", "900"))
    with pytest.raises(ManifestError, match=r"statistics\.json: crc32c"):
        Mixture({"a": load(tmp_path / "d")})
