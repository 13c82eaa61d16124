import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests.datasets import random_examples, write_dataset
from tests.tokenreel.loaders.conftest import shards
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.format import manifest as manifests
from tokenreel.format import naming
from tokenreel.format.manifest import INT64_LIST, SplitInfo
from tokenreel.loaders import load


def test_no_random_access_to_varying_lengths(tmp_path):
    write_dataset(tmp_path / "d", {"train": random_examples(5, 8)}, record_format=INT64_LIST)
    with pytest.raises(ManifestError, match=r"no random access.*tf.data"):
        load(tmp_path / "d")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: shards(d)[3].unlink(), "00003-of-00010: missing"),
        (lambda d: os.truncate(shards(d)[2], shards(d)[2].stat().st_size // 2), r"00002-of-00010: .* bytes \(8.00 records\).*16 records"),
        (lambda d: os.truncate(shards(d)[2], shards(d)[2].stat().st_size - 1), "00002-of-00010: .* bytes"),
        (lambda d: shards(d)[9].write_bytes(shards(d)[0].read_bytes()), "00009-of-00010: .* bytes"),
        (lambda d: shutil.copy(shards(d)[0], d / naming.shard("train", 10, 11)), "00010-of-00011: a shard that the manifest does not list"),
        (lambda d: (d / "manifest.json").unlink(), "no manifest.json"),
        (lambda d: (d / "manifest.json").write_bytes((d / "manifest.json").read_bytes().replace(b'"seed": 0', b'"seed": 1')), "altered"),
    ],
)
def test_an_incomplete_or_altered_directory_is_refused(copy, damage, message):
    load(copy)
    damage(copy)
    with pytest.raises(ManifestError, match=message):
        load(copy)


def test_versions_and_fingerprints(copy):
    fingerprint = load(copy).manifest.fingerprint
    load(copy, fingerprint=fingerprint)
    with pytest.raises(ManifestError, match=f"fingerprint {fingerprint}, expected abc: this is another dataset"):
        load(copy, fingerprint="abc")
    body = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(body | {"format_version": 99}))
    with pytest.raises(ManifestError, match="format version 99"):
        load(copy)


def test_options_are_checked(directory):
    for options, message in (
        ({"split": "test"}, "no split 'test'; there are train, validation"),
        ({"crc": "sometimes"}, "crc must be"),
        ({"backend": "telepathy"}, "backend must be"),
        ({"verify": "maybe"}, "verify must be"),
    ):
        with pytest.raises(ConfigError, match=message):
            load(directory, **options)


def test_a_manifest_that_contradicts_itself_is_refused(copy):
    manifest = manifests.read(str(copy))
    info = manifest.splits["train"]
    for change, message in (
        ({"records": 15}, "contradicts itself"),
        ({"file": info.shards[1].file}, "contradicts itself"),
        (
            {"records": 15, "bytes": 15 * manifest.fixed_format.record_bytes},
            "all but the last need 15|15 records; all but the last need 16",
        ),
    ):
        for index in (0, 4):
            changed = list(info.shards)
            changed[index] = dataclasses.replace(changed[index], **change)
            splits = dict(manifest.splits) | {"train": manifests.SplitInfo(shards=tuple(changed))}
            (copy / "manifest.json").write_text(dataclasses.replace(manifest, splits=splits).to_text())
            if changed[index] != info.shards[index] and change.get("file") != info.shards[index].file:
                with pytest.raises(ManifestError, match=message):
                    load(copy)


@pytest.mark.everywhere
def test_loading_imports_numpy_alone(directory):
    code = (
        "import sys, tokenreel.loaders as l\n"
        f"d = l.load({str(directory)!r}); b = d.batches(4); next(b)\n"
        "heavy = "
        "{'tensorflow', 'jax', 'torch', 'grain', 'keras', 'pyarrow', 'apache_beam', 'sentencepiece', 'google.cloud.storage', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("totals", "advice"),
    [
        ({"documents_written": 1000, "tokens": 100_000}, "Set splits.validation to a larger share, such as 0.2%, or load another split"),
        ({"documents_written": 1000, "tokens": 3000}, "Set splits.validation to a larger share, such as 0.54%, or load another split"),
        ({"documents_written": 3, "tokens": 100_000}, "Build it from more text, or load another split"),
        ({}, "Build it from more text, or load another split"),
    ],
)
def test_an_empty_split_names_the_share_that_would_fill_it(tmp_path, totals, advice):
    manifest = write_dataset(tmp_path / "dataset", {"train": random_examples(20, 8)})
    splits = {**manifest.splits, "validation": SplitInfo(shards=())}
    (tmp_path / "dataset/manifest.json").write_text(dataclasses.replace(manifest, splits=splits, totals=totals).to_text())
    with pytest.raises(ManifestError, match=re.escape(f"split 'validation' holds no example. {advice}.")):
        load(tmp_path / "dataset", "validation")


def test_home_and_file_addresses_are_written_out(directory, monkeypatch):
    folder = pathlib.Path(directory)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert (
        load(f"~/{folder.name}").manifest.fingerprint == load(folder.as_uri()).manifest.fingerprint == load(directory).manifest.fingerprint
    )
