import pytest

from tests import buckets
from tokenreel.errors import BuildError
from tokenreel.storage import files, locking


def test_a_directory_is_locked_while_it_is_held(tmp_path):
    directory = str(tmp_path / "new" / "output")
    for _ in range(2):
        with locking.lock(directory):
            with pytest.raises(BuildError, match="another job is writing here"), locking.lock(directory):
                pass
            assert files.list_files(directory) == {}  # no file of ours in the output
    with pytest.raises(RuntimeError), locking.lock(directory):
        raise RuntimeError
    with locking.lock(directory):
        pass


def test_a_place_that_cannot_be_written_to_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="cannot write here"), locking.lock(str(tmp_path / "file" / "output")):
        pass


def test_a_directory_in_a_bucket_is_locked_by_an_object():
    with buckets.storage() as remote:
        with locking.lock(f"{remote}/d"):
            assert list(files.list_files(f"{remote}/d")) == [locking.LOCK]
            with pytest.raises(BuildError, match="another job is writing here"), locking.lock(f"{remote}/d"):
                pass
        assert files.list_files(f"{remote}/d") == {}
