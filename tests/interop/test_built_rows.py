"""SeqIO reading datasets that we built with `seqio_view`: the rows of a task, and tokens of text."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

import tokenreel
from tokenreel.errors import ManifestError
from tokenreel.tasks import caching

pytestmark = pytest.mark.interop

OURS = """
import tokenreel.tasks as seqio

seqio.TaskRegistry.add(
    "lines",
    source=seqio.TextLineDataSource({"train": "DATA"}),
    preprocessors=[seqio.map_examples(lambda line: {"targets": line}), seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
    output_features={"targets": seqio.Feature(seqio.ByteVocabulary())},
)
"""
SHARED = {"shards": {"examples": 8, "format": "int64_list"}, "seqio_view": True}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with two datasets, "rows" and "text"."""
    folder = tmp_path_factory.mktemp("interop")
    (folder / "lines.txt").write_text("".join(f"{'x' * (n % 11)} line {n}\n" for n in range(120)))
    (folder / "our_lines.py").write_text(OURS.replace("DATA", str(folder / "lines.txt")))
    rows = {"task": "lines", "module_import": "our_lines", "feature_converter": {"name": "LMFeatureConverter"}}
    text = {"sources": [{"files": ["lines.txt"], "format": "lines"}], "vocabulary": {"kind": "bytes"}, "packing": {"seq_len": 32}}
    for name, settings in {"rows": {**rows, "task_feature_lengths": {"targets": 64}}, "text": text}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"output": name, **settings, **SHARED}))
        command = [sys.executable, "-m", "pipelines.build", f"{folder}/{name}.yaml", "--direct_num_workers=1"]
        path = f"{folder}:{__file__.rsplit('/tests/', 1)[0]}"
        done = subprocess.run(command, env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder


def _task(folder, name, features):
    import seqio

    source = seqio.FunctionDataSource(lambda split, shuffle_files, seed=None: None, splits=["train"])
    seqio.set_global_cache_dirs([str(folder)])
    output_features = {each: seqio.Feature(seqio.ByteVocabulary()) for each in features}
    return seqio.Task(name, source, output_features, [seqio.CacheDatasetPlaceholder(required=True)])


def _key(example, names):
    return sorted((name, np.asarray(example[name]).tolist()) for name in names)


def test_seqio_reads_our_rows_with_its_prepacked_converter(built, tmp_path):
    import seqio

    names = [f"decoder_{each}" for each in ("target_tokens", "input_tokens", "loss_weights", "segment_ids", "positions")]
    task = _task(built, "rows", names)
    converter = seqio.PrePackedLMFeatureConverter(pack=True)
    theirs = list(seqio.get_dataset(task, {"targets": 64}, converter, "train", use_cached=True, shuffle=False).as_numpy_iterator())
    ours = _of_seqio(built / "rows", tmp_path)
    assert len(theirs) == len(ours) == json.loads((built / "rows/stats.train.json").read_text())["examples"] > 8
    assert sorted(_key(row, names) for row in theirs) == sorted(_key(row, names) for row in ours)


def test_seqio_reads_the_tokens_of_a_build_of_text(built, tmp_path):
    task = _task(built, "text", ["tokens"])
    theirs = list(task.get_dataset(None, "train", use_cached=True, shuffle=False).as_numpy_iterator())
    ours = _of_seqio(built / "text", tmp_path)
    assert len(theirs) == len(ours) > 8
    names = ["tokens", "document_starts", "example_id"]
    assert sorted(_key(row, names) for row in theirs) == sorted(_key(row, names) for row in ours)


def _of_seqio(directory, folder):
    """Reads a dataset as SeqIO's own, by what stands beside its shards."""
    with pytest.raises(ManifestError, match="int64_list"):
        tokenreel.load(directory)
    shutil.copytree(directory, folder / "seen", ignore=shutil.ignore_patterns("manifest.json"))
    return list(caching.open_cached(str(folder / "seen"), "train"))
