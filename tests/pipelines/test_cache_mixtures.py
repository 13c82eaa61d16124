"""`tokenreel cache-tasks --mixtures`, as a user runs it, and what `get_dataset` replays."""

import collections
import importlib
import itertools
import json
import pickle
import shutil
import sys
from fractions import Fraction

import numpy as np
import pytest

from pipelines import cache_tasks, cli, local, verification_job
from tests.pipelines.test_cache_tasks import contents, units_of
from tests.tokenreel.tasks.test_example_stream import check_states
from tokenreel import tasks as seqio
from tokenreel.caching import mixture_job
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.format import mixture_manifest
from tokenreel.loaders import load
from tokenreel.tasks import cache_directories, mixture_caches

MODULE = "tests.pipelines.cached_mixtures"
LENGTHS = {"targets": 3}


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory):
    """The tasks and mixtures, over files of their own."""
    directory = tmp_path_factory.mktemp("data")
    for number, numbers in enumerate((range(40), range(40, 60))):
        (directory / f"a-{number}.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in numbers))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENREEL_TEST_DATA", str(directory))
        sys.modules.pop(MODULE, None)
        yield importlib.import_module(MODULE)
    seqio.TaskRegistry.reset()
    seqio.MixtureRegistry.reset()


def cache(directory, mixtures, *options):
    """Runs the command in this process with one worker."""
    arguments = ["--mixtures", mixtures, "--module_import", MODULE, "--output_cache_dir", str(directory)]
    return cache_tasks.main([*arguments, "--direct_num_workers=1", "--base_seed", "5", *options])


@pytest.fixture(scope="module")
def nested(mixtures, tmp_path_factory):
    """A directory with the order of `mix:nested`, two passes of each task."""
    directory = tmp_path_factory.mktemp("nested")
    assert cache(directory, "mix:nested", "--mixture_epochs", "2") == 0
    return directory


@pytest.fixture
def looked_for(nested):
    """The directory in which tasks look for caches."""
    cache_directories.set_global_cache_dirs([str(nested)])
    yield nested
    cache_directories.set_global_cache_dirs([])


def get(name, **arguments):
    arguments = {"sequence_length": LENGTHS, "split": "train", "passthrough_features": ["n", "draw"], **arguments}
    return seqio.get_mixture_or_task(name).get_dataset(**arguments)


def plain(dataset):
    return [{name: np.asarray(value).tolist() for name, value in example.items()} for example in dataset]


def test_the_order_is_that_which_the_mixture_draws(looked_for):
    drawn = list(get("mix:nested", use_cached=True, seed=5, num_epochs=2).keyed())
    replayed = list(get("mix:nested", use_cached="mixture", num_epochs=1).keyed())
    assert [each[:2] for each in replayed] == [each[:2] for each in drawn]
    assert plain(each.value for each in replayed) == plain(each.value for each in drawn)
    assert len(replayed) == 2 * (60 + 7 + 25)
    rates = {"m:a": Fraction(3, 10), "m:b": Fraction(4, 10), "m:c": Fraction(3, 10)}  # 0.6 / 3 + 0.1, 0.6 * 2 / 3, 0.3
    order = mixture_caches.CachedOrder(str(looked_for / "mix/nested"), "train")
    tasks = [order.tasks[number] for number in order.rows(np.arange(35))[0]]  # as long as no task has ended
    for step, name in itertools.product(range(1, 36), rates):
        assert abs(tasks[:step].count(name) - step * rates[name]) < 1


def test_the_task_of_origin_travels_where_it_is_asked_for(looked_for):
    kept = ["n", mixture_caches.ORIGIN]
    found = plain(get("mix:nested", use_cached="mixture", num_epochs=1, passthrough_features=kept))
    of_task = {b"m:a": 0, b"m:b": 1, b"m:c": 2}
    assert all(of_task[row["mixture_task"]] == row["n"] // 1000 for row in found)
    assert collections.Counter(row["mixture_task"] for row in found) == {b"m:a": 120, b"m:b": 14, b"m:c": 50}
    statistics = mixture_manifest.find(str(looked_for / "mix/nested")).splits["train"].statistics
    assert statistics == {"examples": 184, "m:a_examples": 120, "m:b_examples": 14, "m:c_examples": 50}


def test_a_state_is_one_integer_and_nothing_before_it_is_read(looked_for, monkeypatch):
    check_states(get("mix:nested", use_cached="mixture", num_epochs=2, shard_info=seqio.ShardInfo(1, 6)), 62)
    stream = get("mix:nested", use_cached="mixture", num_epochs=2)
    walk = iter(stream)
    for _ in range(150):
        next(walk)
    state = json.loads(json.dumps(walk.get_state()))
    assert state["place"]["below"] == {"at": 150}
    read = []
    examples = seqio.caching.CachedSplit.examples
    monkeypatch.setattr(seqio.caching.CachedSplit, "examples", lambda self, rows: read.extend(rows) or examples(self, rows))
    other = iter(stream)
    other.set_state(state)
    assert plain([next(other)]) == plain([next(walk)]) and len(read) <= 184 - 150


def test_hosts_share_the_order_and_further_passes_draw_anew(looked_for):
    whole = plain(get("mix:nested", use_cached="mixture", num_epochs=1))
    shares = [plain(get("mix:nested", use_cached="mixture", num_epochs=1, shard_info=seqio.ShardInfo(i, 3))) for i in range(3)]
    assert [share == whole[i::3] for i, share in enumerate(shares)] == [True] * 3
    twice = plain(get("mix:nested", use_cached="mixture", num_epochs=2))
    assert twice[:184] == whole and [row["n"] for row in twice[184:]] == [row["n"] for row in whole]
    assert all(first["draw"] != again["draw"] for first, again in zip(whole, twice[184:], strict=True))
    order = mixture_caches.CachedOrder(str(looked_for / "mix/nested"), "train")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(order)).rows([3, 100]), order.rows([3, 100]))


@pytest.mark.parametrize("pack", [False, True])
def test_converters_and_batches_take_a_cached_order(looked_for, pack):
    """`seqio.get_dataset`, packed and not, and rows of two hosts."""

    def rows(use_cached, **arguments):
        converter = seqio.LMFeatureConverter(pack=pack)
        return seqio.get_dataset("mix:nested", {"targets": 9}, converter, use_cached=use_cached, seed=5, **arguments)

    drawn, replayed = rows(True, shuffle=True, num_epochs=2), rows("mixture")
    assert plain(replayed) == plain(drawn)
    batches = [batch["decoder_target_tokens"].tolist() for batch in replayed.batches(4)]
    assert [row for batch in batches for row in batch] == [row["decoder_target_tokens"] for row in plain(drawn)][: 4 * len(batches)]


def test_where_files_are_cut_changes_no_byte(nested, tmp_path):
    with units_of(100):
        assert cache(tmp_path, "mix:nested", "--mixture_epochs", "2") == 0
    assert contents(tmp_path) == contents(nested)
    assert sorted(path.name for path in (tmp_path / "mix/nested").iterdir()) == [
        "manifest.json",
        "train.order-00000-of-00001",
        "validation.order-00000-of-00001",
    ]


@pytest.mark.slow
def test_workers_and_the_size_of_files_change_no_row(nested, tmp_path, monkeypatch):
    options = ["--mixture_epochs", "2", "--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    with units_of(100):
        assert cache(tmp_path / "two", "mix:nested", *options) == 0
    assert contents(tmp_path / "two") == contents(nested)
    monkeypatch.setattr(mixture_job, "_FILE_ROWS", 50)
    monkeypatch.setattr(mixture_job, "_BLOCK_ROWS", 25)
    assert cache(tmp_path / "small", "mix:nested", "--mixture_epochs", "2") == 0
    orders = [mixture_caches.CachedOrder(str(root / "mix/nested"), "train") for root in (nested, tmp_path / "small")]
    assert [len(order.part.rows) for order in orders] == [1, 4]
    np.testing.assert_array_equal(*(order.rows(np.arange(184)[::-1]) for order in orders))


@pytest.fixture(scope="module")
def ends(mixtures, tmp_path_factory):
    """Makes the order of `mix:nested` with other ends, over the same tasks' caches."""
    directory = tmp_path_factory.mktemp("ends")

    def make(*options):
        assert cache(directory, "mix:nested", "--splits", "train", "--overwrite", *options) == 0
        cache_directories.set_global_cache_dirs([str(directory)])
        order = mixture_caches.CachedOrder(str(directory / "mix/nested"), "train")
        return order, [int(row["n"]) for row in get("mix:nested", use_cached="mixture", num_epochs=1)]

    yield make
    cache_directories.set_global_cache_dirs([])


def drawn(count=None, **arguments):
    return [int(row["n"]) for row in itertools.islice(get("mix:nested", use_cached=True, seed=5, **arguments), count)]


def test_ends_of_an_order(ends, capsys):
    _, found = ends("--mixture_stop", "first_empty")
    assert found == drawn(num_epochs=1, stop="first_empty") and len(found) < 30
    _, found = ends("--mixture_stop", "all_used")
    assert found == drawn(num_epochs=1) and len(found) == 92
    order, found = ends("--mixture_examples", "200")
    assert found == drawn(200, num_epochs=None) and order.part.epochs == 12  # of the seven examples of a task with rate 0.4
    assert "mix:nested, train: 200 examples (m:a 60, m:b 80, m:c 60), each passed over 12 times at most" in capsys.readouterr().out
    _, found = ends("--mixture_examples", "200", "--mixture_stop", "all_used")
    assert found == drawn(num_epochs=1)
    order, found = ends("--mixture_tokens", "100")
    sizes = np.cumsum([1 + n % 4 for n in drawn(100, num_epochs=None)])
    assert found == drawn(int(np.searchsorted(sizes, 100, side="right")), num_epochs=None)
    assert order.part.statistics["tokens"] == sizes[len(found) - 1] and 96 < sizes[len(found) - 1] <= 100 < sizes[len(found)]


def test_inspect_shows_where_examples_are_from(looked_for, capsys):
    assert cli.main(["inspect", str(looked_for / "mix/nested"), "--index", "183", "--count", "1"]) == 0
    last = plain(get("mix:nested", use_cached="mixture", num_epochs=1))[-1]
    told = capsys.readouterr().out
    assert "train 183 of 184: m:" in told and ", pass 2" in told and f"n: {last['n']}" in told
    assert cli.main(["inspect", str(looked_for / "mix/nested"), "--split", "test"]) == 2
    with pytest.raises(ManifestError, match="this is the cached order of mixture 'mix:nested', and no dataset"):
        load(str(looked_for / "mix/nested"))


def test_an_order_that_is_there_is_found_and_an_edited_mixture_refused(mixtures, looked_for, tmp_path, capsys, monkeypatch):
    copied = tmp_path / "caches"
    shutil.copytree(looked_for, copied)
    cache_directories.set_global_cache_dirs([str(copied)])
    before = contents(copied)
    assert cache(copied, "mix:nested", "--mixture_epochs", "2") == 0
    assert capsys.readouterr().err.count("is complete already") == 4
    assert cache(copied, "mix:nested", "--mixture_epochs", "3") == 1
    assert "the cache is stale: --mixture_epochs changed" in " ".join(capsys.readouterr().err.split())
    edited = seqio.Mixture("mix:nested", [("inner", 0.6), ("m:c", 0.4), ("m:a", 0.1)])
    monkeypatch.setitem(seqio.MixtureRegistry._REGISTRY, "mix:nested", edited)
    assert cache(copied, "mix:nested", "--mixture_epochs", "2") == 1
    assert "the rate of task 'm:c' was 3/10 and is 2/5" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(ManifestError, match="the cached mixture is stale: the rate of task 'm:c' was 3/10 and is 2/5"):
        get("mix:nested", use_cached="mixture")
    assert contents(copied) == before
    monkeypatch.undo()
    assert cache(copied, "inner", "--tasks", "m:c", "--base_seed", "6", "--overwrite") == 0
    with pytest.raises(ManifestError, match="the cache of task 'm:a' was made anew"):
        get("mix:nested", use_cached="mixture")


def test_rates_that_read_caches(mixtures, tmp_path):
    assert cache(tmp_path, "mix:sizes", "--splits", "train") == 0
    cache_directories.set_global_cache_dirs([str(tmp_path)])
    found = [int(row["n"]) // 1000 for row in get("mix:sizes", use_cached="mixture", num_epochs=1)]
    assert collections.Counter(found) == {0: 60, 1: 7, 2: 25}
    assert all(abs(found[:46].count(task) - count / 2) < 1 for task, count in enumerate((60, 7, 25)))
    assert cache(tmp_path, "mix:sizes", "--splits", "train") == 0
    cache_directories.set_global_cache_dirs([])
    manifest = tmp_path / "mix/sizes/manifest.json"
    manifest.write_text(manifest.read_text().replace("mix:sizes", "mix:others"))
    shutil.rmtree(tmp_path / "m/a")
    assert cache(tmp_path, "mix:sizes", "--splits", "train", "--overwrite") == 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["nothing"], 2, "matches no mixture; registered are inner, m:c, mix:nested"),
        (["mix:odd"], 2, "task 'm:odd': a step behind its CacheDatasetPlaceholder"),
        (["mix:plain"], 2, "its task 'm:plain' has no CacheDatasetPlaceholder"),
        (["m:c"], 2, "mixture 'm:c': a task has its name"),
        (["mix:nested", "--mixture_tokens", "0"], 2, "--mixture_tokens"),
        (["inner", "--mixture_epochs", "-1"], 2, "--mixture_epochs"),
    ],
)
def test_mistakes_are_told_in_one_message(mixtures, tmp_path, capsys, options, code, message):
    assert cache(tmp_path, *options) == code
    told = " ".join(capsys.readouterr().err.split())
    assert message in told and "Traceback" not in told


def test_what_cannot_be_replayed(looked_for):
    with pytest.raises(ConfigError, match="use_cached is False, True or 'mixture', got 'order'"):
        get("mix:nested", use_cached="order")
    with pytest.raises(ConfigError, match="a cached order has its own end"):
        get("mix:nested", use_cached="mixture", stop=3)
    with pytest.raises(ManifestError, match="mixture 'mix:sizes' does not exist in any of the task cache directories"):
        get("mix:sizes", use_cached="mixture")
    with pytest.raises(ManifestError, match="was cached without a split 'test'; it has train, validation"):
        get("mix:nested", use_cached="mixture", split="test")
    with pytest.raises(ConfigError, match="use_cached='mixture' is for mixtures"):
        seqio.get_mixture_or_task("m:a").get_dataset(LENGTHS, use_cached="mixture")


def test_damage_is_noticed(looked_for, tmp_path, capsys, monkeypatch):
    shutil.copytree(looked_for, tmp_path / "caches")
    cache_directories.set_global_cache_dirs([str(tmp_path / "caches")])
    directory = tmp_path / "caches/mix/nested"
    assert cli.main(["verify", str(directory)]) == 0
    assert "sound. Cached order of mixture mix:nested: train 184 examples, validation 80 examples" in capsys.readouterr().out
    monkeypatch.chdir(directory.parent)  # named by a part of its name
    assert cli.main(["verify", "nested"]) == 0 and cli.main(["inspect", "nested", "--count", "1"]) == 0
    assert "sound. Cached order" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="a task or a mixture, which is checked in this process"):
        verification_job._leave(local.options([f"--temp_location={tmp_path}"], releases_gil=True), str(directory), str(directory))
    path = directory / "train.order-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[-70] ^= 1
    path.write_bytes(data)
    assert cli.main(["verify", str(directory)]) == 1 and "crc32c is" in capsys.readouterr().out
    with pytest.raises(ManifestError, match="its bytes are not those that the manifest tells of"):
        get("mix:nested", use_cached="mixture")
    path.write_bytes(data[:-1])
    with pytest.raises(ManifestError, match="the manifest says"):
        get("mix:nested", use_cached="mixture")
    path.unlink()
    with pytest.raises(ManifestError, match="missing, the manifest says"):
        get("mix:nested", use_cached="mixture")
    shutil.rmtree(tmp_path / "caches/m/b")
    assert cli.main(["verify", str(directory)]) == 1
    told = capsys.readouterr().out
    assert "train.order-00000-of-00001: missing" in told and "the cache of task m:b: missing beside the mixture" in told
