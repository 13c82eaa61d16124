from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests import buckets
from tokenreel.errors import BuildError, LostOutputError
from tokenreel.storage import claims, files, locking
from tokenreel.storage.claims import Claim, Folder


@pytest.fixture(params=["disk", "bucket"])
def output(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[str]:
    if request.param == "disk":
        yield str(tmp_path / "output")
    else:
        with buckets.storage() as place:
            yield f"{place}/output"


def test_a_claim_lasts_as_long_as_its_lock(output: str) -> None:
    with locking.lock(output) as hold:
        claim = hold.claim()
        claim.check()
        assert hold.claim() == claim and Folder(output, claim).ready() == output
        with claim.exclusively():
            pass
    with pytest.raises(LostOutputError, match="the lock of this output was taken away"):
        claim.check()
    assert files.list_files(output) == {}
    with locking.lock(output) as hold:
        assert hold.claim() != claim
        with pytest.raises(LostOutputError, match=r"process \d+ on .* took this output over"), claim.exclusively():
            pass
        claim.release()  # that of another stays
        hold.claim().check()


def test_a_lock_is_handed_over_to_a_job_that_gives_it_back(output: str) -> None:
    with locking.lock(output) as hold:
        claim = hold.claim()
        with hold.handing_over() as told:
            told.update(job="job-1 on SomeRunner", url="https://example.test/1")
    claim.check()
    with (
        pytest.raises(BuildError, match=r"job job-1 on SomeRunner \(https://example.test/1\), last sign of life \d+ s ago"),
        locking.lock(output),
    ):
        pass
    claim.check()
    claim.release()
    with locking.lock(output) as hold:
        hold.claim()


def test_a_job_may_be_done_before_it_is_described(output: str) -> None:
    with locking.lock(output) as hold:
        claim = hold.claim()
        with hold.handing_over() as told:
            claim.release()
            told["job"] = "quick"
    assert files.list_files(output) == {}


def test_a_job_that_could_not_be_started_has_nothing(output: str) -> None:
    with pytest.raises(RuntimeError), locking.lock(output) as hold:
        claim = hold.claim()
        with hold.handing_over():
            raise RuntimeError
    with pytest.raises(LostOutputError):
        claim.check()
    with locking.lock(output):
        pass


def test_a_job_without_a_sign_of_life_loses_the_output(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "JOB_STALE", 0.0)
    monkeypatch.setattr("tokenreel.storage.object_lock.HEARTBEAT", 0.01)
    with locking.lock(output) as hold:
        claim = hold.claim()
        with hold.handing_over() as told:
            told["job"] = "silent"
    with locking.lock(output) as hold:
        hold.claim()
        with pytest.raises(LostOutputError):
            claim.check()


def test_a_damaged_record_is_nobodys(tmp_path: pathlib.Path) -> None:
    for content in (b"", b"\0" * 40, b"[]", b'{"id": '):
        (tmp_path / claims.RECORD).write_bytes(content)
        with pytest.raises(LostOutputError):
            Claim(str(tmp_path), "1").check()
        with locking.lock(str(tmp_path)) as hold:
            hold.claim().check()
