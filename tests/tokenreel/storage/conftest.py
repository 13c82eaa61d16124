import pytest

from tests import buckets
from tokenreel.storage import gcs


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.005)
    monkeypatch.setattr(gcs, "PATIENCE", 5.0)
    with buckets.server() as state:
        yield state
