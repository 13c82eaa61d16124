import copy
import json

import pytest

from tests.tokenreel.format.test_manifest import EXAMPLE
from tokenreel import keys
from tokenreel.errors import ManifestError
from tokenreel.format import manifest, manifest_checks

BODY = json.loads(EXAMPLE.to_text())


def forge(path, value):
    """Gives the text of a manifest with another value, and a digest that fits it."""
    body = copy.deepcopy(BODY)
    body.pop("manifest_digest")
    place = body
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    digest = keys.digest(manifest._canonical(body))
    return manifest._pretty(body | {"manifest_digest": digest})


@pytest.mark.parametrize("place", ["files.0.file", "vocabulary.file", "splits.train.shards.0.file"])
@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a//b", "", "a\\..\\x", "C:/x", "a\0b", "a\u202eb", "gs://x/y", 3])
def test_names_cannot_leave_the_dataset(place, name):
    path = [int(step) if step.isdigit() else step for step in place.split(".")]
    with pytest.raises(ManifestError, match=rf"m\.json: a field is missing or malformed .*{place.replace('.', '[.]')} must be"):
        manifest.parse(forge(path, name), "m.json")


@pytest.mark.parametrize("name", ["statistics.json", "provenance/train-00000-of-00001.parquet", "dead_letters/dead_letters.jsonl"])
def test_names_of_a_build_are_names(name):
    assert manifest_checks.check_name(name, "files.0.file") == name


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["record", "seq_len"], 0),
        (["record", "seq_len"], 2.5),
        (["record", "seq_len"], True),
        (["record", "overlap"], -1),
        (["record", "pad_id"], None),
        (["record", "format"], ["fixed"]),
        (["record", "features"], {}),
        (["record", "features", 0, "name"], 3),
        (["record", "features", 0, "name"], "tokens"),
        (["record", "features", 0, "dtype"], "float64"),
        (["record", "features", 1, "shape"], [1 << 40]),
        (["record", "features", 1, "shape"], [1 << 13, 1 << 13]),
        (["record", "features", 1, "shape"], [-5]),
        (["splits"], []),
        (["splits", "../train"], {"shards": []}),
        (["splits", "train"], None),
        (["splits", "train", "shards", 0, "records"], "64"),
        (["splits", "train", "shards", 0, "bytes"], -1),
        (["splits", "train", "shards", 0, "crc32c"], 1 << 32),
        (["vocabulary"], "bytes"),
        (["vocabulary", "kind"], []),
        (["vocabulary", "vocab_size"], 1 << 40),
        (["vocabulary", "eos_id"], -1),
        (["vocabulary", "options"], [1]),
        (["config"], None),
        (["config", "packing"], "wrap"),
        (["config", "packing"], {"align": "x"}),
        (["config", "packing"], {"mode": 3}),
        (["config", "objective"], {"name": {}}),
        (["config", "objective"], {"denoisers": [4]}),
        (["config", "variants"], 0),
        (["config", "sources"], [3]),
        (["seed"], "5"),
        (["algorithms"], {"keys": 1}),
        (["totals"], {"documents_read": -1}),
        (["totals"], {"documents_filtered": {"empty": "x"}}),
        (["files"], {}),
        (["files", 0, "bytes"], 1.0),
        (["tokenreel_version"], None),
        (["objective_facts"], []),
        (["objective_facts"], {"special_names": []}),
        (["objective_facts"], {"special_ids": [[0, 1 << 30]]}),
        (["objective_facts"], {"mask_id": "x"}),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_values_of_a_forged_manifest_are_named(path, value):
    """116 of 600 manifests with a value of another kind, and a digest that fits, ended in tracebacks."""
    with pytest.raises(ManifestError) as caught:
        manifest.parse(forge(path, value), "m.json")
    message = str(caught.value)
    assert message.startswith("m.json: a field is missing or malformed") and len(message) < 500 and str(path[0]) in message


def test_brackets_in_brackets_are_no_manifest():
    with pytest.raises(ManifestError, match=r"m\.json: not JSON"):
        manifest.parse("[" * 100_000, "m.json")
