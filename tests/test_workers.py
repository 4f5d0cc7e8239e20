"""Tests of work on several threads: order, exceptions, and a bounded number of pending items."""

import time

import pytest

from echodistill.core.batches import batches
from echodistill.workers import PENDING_PER_WORKER, ordered_map, worker_count


def test_results_come_in_order_even_if_they_are_ready_in_another() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number % 2 == 0 else 0.0)
        return number * number

    assert list(ordered_map(slow_first, range(20))) == [number * number for number in range(20)]


def test_an_exception_is_raised_where_its_item_is() -> None:
    def fail_at_three(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    results = ordered_map(fail_at_three, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_no_more_is_started_than_the_consumer_will_soon_take() -> None:
    started: list[int] = []
    results = ordered_map(started.append, iter(range(10_000)))
    next(results)
    assert len(started) <= worker_count() * PENDING_PER_WORKER + 1
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (4, [4]), (9, [4, 4, 1])])
def test_batches_hold_everything_once(count: int, sizes: list[int]) -> None:
    parts = list(batches(range(count), 4))
    assert [len(part) for part in parts] == sizes
    assert [item for part in parts for item in part] == list(range(count))
