"""Caches whose task, or whose source, is not what it was: `get_dataset` refuses them, and says what changed."""

import importlib
import json
import linecache
import runpy
import sys

import pytest

from pipelines import cache_tasks
from tokenreel.errors import ManifestError
from tokenreel.tasks import cache_directories
from tokenreel.tasks.task import TaskRegistry


@pytest.fixture(scope="module")
def stale(tmp_path_factory):
    """A module with a task, its file, and its cache."""
    directory = tmp_path_factory.mktemp("stale")
    (directory / "rows.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(9)))
    source = f"""
import numpy as np
from tokenreel import tasks as seqio

def half(number):
    return number // 2

@seqio.numpy_preprocessor
def shorten(dataset):
    return dataset.map(lambda example: {{"targets": np.array([half(int(example["n"]))], np.int32)}})

seqio.TaskRegistry.add(
    "stale",
    seqio.JsonLinesDataSource({{"train": "{directory}/rows.jsonl"}}),
    {{"targets": seqio.Feature(seqio.PassThroughVocabulary(100))}},
    [shorten, seqio.CacheDatasetPlaceholder()],
)
"""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(directory))
        patch.setattr(sys, "dont_write_bytecode", True)  # by whose time and size an edit of the same second would not be seen
        read_module(directory, source)
        options = ["--module_import", "stale_task", "--output_cache_dir", str(directory / "caches"), "--direct_num_workers=1"]
        assert cache_tasks.main(["--tasks", "stale", *options]) == 0
        yield directory, source
    TaskRegistry.remove("stale")


def read_module(directory, source):
    """Imports the text of a module, as another process would."""
    (directory / "stale_task.py").write_text(source)
    TaskRegistry.remove("stale")
    sys.modules.pop("stale_task", None)
    linecache.clearcache()
    importlib.invalidate_caches()
    importlib.import_module("stale_task")


@pytest.fixture(autouse=True)
def looked_for(stale):
    """The directory in which the task looks for its cache."""
    cache_directories.set_global_cache_dirs([str(stale[0] / "caches")])
    yield
    cache_directories.set_global_cache_dirs([])


def read():
    return [row["targets"].tolist() for row in TaskRegistry.get("stale").get_dataset(None, "train", use_cached=True, shuffle=False)]


def test_an_edited_step_is_refused_when_a_cache_is_read(stale):
    directory, source = stale
    read_module(directory, source)
    assert sorted(read()) == [[n // 2] for n in range(9)]
    read_module(directory, source.replace("number // 2", "number // 3"))  # a function that the step calls
    with pytest.raises(ManifestError, match=r"the cache of task 'stale' is stale: step 0 \(stale_task\.shorten\) changed"):
        read()
    read_module(directory, source.replace("(100)", "(200)"))
    with pytest.raises(ManifestError, match=r"is stale: feature 'targets' changed"):
        read()
    read_module(directory, source.replace("JsonLines", "TextLine"))
    with pytest.raises(ManifestError, match=r"is stale: the source changed"):
        read()


def test_an_edited_source_file_is_refused_when_a_cache_is_read(stale):
    directory, source = stale
    read_module(directory, source)
    path = directory / "rows.jsonl"
    before = path.read_text()
    try:
        path.write_text(before.replace("5", "7"))
        with pytest.raises(ManifestError, match=r"split 'train' of the source \(other contents or names of its files\) changed"):
            read()
        path.write_text(before + before)
        with pytest.raises(ManifestError, match=r"split 'train' of the source \(81 bytes, now 162\) changed"):
            read()
        path.rename(directory / "elsewhere")
        assert len(read()) == 9  # a trainer has no sources
    finally:
        (directory / "elsewhere").unlink(missing_ok=True)
        path.write_text(before)


def test_a_task_of_the_program_itself_is_told_why_its_cache_seems_stale(stale):
    """As where a script registers its task and trains, and the job imported the script."""
    directory, source = stale
    (directory / "script.py").write_text(source)
    TaskRegistry.remove("stale")
    runpy.run_path(str(directory / "script.py"), run_name="__main__")
    with pytest.raises(ManifestError, match=r"was made by stale_task\.shorten, and the task is made of __main__\.shorten here.*of its own"):
        read()
