import threading
import time

import pytest

from sinew_sim.cell.pacing import Pacer


def test_a_stall_is_caught_up_without_a_burst():
    pacer, stop = Pacer(0.01), threading.Event()
    pacer.start()
    begin = time.monotonic()
    gaps = []
    for k in range(80):
        if k == 10:
            threading.Event().wait(0.1)
        before = time.monotonic()
        pacer.wait(stop)
        gaps.append(time.monotonic() - before)
    # 80 periods are 0.8 s; the stall is made up for by the end.
    assert time.monotonic() - begin == pytest.approx(0.8, abs=0.06)
    # Each of many gaps is slightly short; in a burst the ten lost ticks would come at once.
    assert sum(gap < 0.004 for gap in gaps[11:40]) <= 5


def test_factor_is_unknown_at_first_and_honest_later():
    pacer, stop = Pacer(0.005), threading.Event()
    pacer.start()
    assert pacer.factor != pacer.factor
    for _ in range(250):
        pacer.wait(stop)
    assert pacer.factor == pytest.approx(1.0, abs=0.05)


def test_stop_ends_the_wait():
    pacer, stop = Pacer(30.0), threading.Event()
    pacer.start()
    stop.set()
    start = time.monotonic()
    pacer.wait(stop)
    assert time.monotonic() - start < 1.0
