import functools

from tokenreel.tasks.preprocessor_marks import numpy_preprocessor, takes_streams


@numpy_preprocessor
def marked(dataset, count):
    return dataset.take(count)


def plain(dataset):
    return dataset


def test_a_mark_is_seen_through_bound_arguments():
    assert takes_streams(marked) and takes_streams(functools.partial(functools.partial(marked), count=2))
    assert not takes_streams(plain) and not takes_streams(functools.partial(plain))
