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


def test_what_a_killed_process_left_goes_with_the_next_that_needs_no_claim(tmp_path):
    directory = str(tmp_path / "output")
    with locking.lock(directory) as hold:
        hold.claim()
        record = (tmp_path / "output" / locking.LOCK).read_bytes()
    assert files.list_files(directory) == {}
    (tmp_path / "output" / locking.LOCK).write_bytes(record)  # as if it had been killed
    with locking.lock(directory):
        pass
    assert files.list_files(directory) == {}
    with locking.lock(directory) as hold, hold.handing_over() as told:
        told["job"] = "job-1"
    assert list(files.list_files(directory)) == [locking.LOCK]  # the job's, which gives it back itself
    with pytest.raises(BuildError, match="job-1"), locking.lock(directory):
        pass
    assert list(files.list_files(directory)) == [locking.LOCK]
