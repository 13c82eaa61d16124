import pickle

import pytest

from tokenreel import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TokenreelError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_of_a_worker_keep_their_kind_and_message(kind):
    """They are pickled on their way to the process that prints them."""
    again = pickle.loads(pickle.dumps(kind("what is wrong")))
    assert type(again) is kind and str(again) == "what is wrong"


def test_an_error_of_a_bucket_keeps_its_status():
    assert pickle.loads(pickle.dumps(errors.StorageError("gone", 404))).code == 404
    assert errors.StorageError("no bucket").code is None


def test_a_wrong_setting_is_a_wrong_value():
    """Whoever calls the library from Python may catch ValueError."""
    assert issubclass(errors.ConfigError, ValueError)
