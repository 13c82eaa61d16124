import pytest

from tokenreel.tasks import cache_directories


@pytest.fixture(autouse=True)
def _directories():
    yield
    cache_directories.set_global_cache_dirs([])


def test_the_first_directory_that_holds_a_whole_cache_is_taken(tmp_path):
    for place in ("a", "b", "c"):
        (tmp_path / place / "ns" / "task").mkdir(parents=True)
    (tmp_path / "b" / "ns" / "task" / "COMPLETED").write_text("")
    (tmp_path / "c" / "ns" / "task" / "COMPLETED").write_text("")
    cache_directories.set_global_cache_dirs([str(tmp_path / "a"), str(tmp_path / "b")])
    cache_directories.add_global_cache_dirs([str(tmp_path / "b"), str(tmp_path / "c")])
    assert len(cache_directories.get_global_cache_dirs()) == 3
    assert cache_directories.find("ns:task") == str(tmp_path / "b" / "ns" / "task") and cache_directories.find("other") is None
    cache_directories.set_global_cache_dirs([])
    assert cache_directories.find("ns:task") is None
