"""Steps of several threads, one at a time."""

import threading
import time

from tokenreel.tasks import step_turns


def test_steps_run_one_at_a_time_but_for_what_lets_others_go_on():
    told, encoding, done = [], threading.Event(), threading.Event()

    def first():
        with step_turns.one_at_a_time():
            told.append("first begins")
            with step_turns.others_may():
                encoding.set()
                assert done.wait(60)
            told.append("first ends")

    def second():
        assert encoding.wait(60)
        with step_turns.one_at_a_time():
            told.append("second begins")
            done.set()
            time.sleep(0.05)  # the first one would go on, and waits for its turn
            told.append("second ends")

    threads = [threading.Thread(target=each) for each in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert told == ["first begins", "second begins", "second ends", "first ends"]


def test_a_failing_step_gives_its_turn_back():
    for _ in range(2):
        try:
            with step_turns.one_at_a_time(), step_turns.others_may():
                raise KeyError("no such field")
        except KeyError:
            pass
    with step_turns.one_at_a_time():
        pass


def test_what_others_may_use_is_counted_apart():
    before = step_turns.seconds_of_others()
    with step_turns.others_may():  # in no turn, as where a step is called by itself
        sum(range(300_000))
    assert step_turns.seconds_of_others() > before
