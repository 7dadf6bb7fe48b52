"""What a test of workers must not leave behind."""

import gc
import multiprocessing
import threading
import time

import pytest


@pytest.fixture
def no_process_is_left_behind():
    yield
    gc.collect()
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    left = multiprocessing.active_children()
    for process in left:  # the next test is not to blame
        process.kill()
    assert left == []


@pytest.fixture
def no_thread_is_left_behind():
    before = set(threading.enumerate())
    yield
    gc.collect()
    assert [thread for thread in threading.enumerate() if thread not in before] == []
