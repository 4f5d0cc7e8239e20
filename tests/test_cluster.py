"""Tests of mapping over a Dask cluster: order, exceptions, and bounded pending items."""

from collections.abc import Iterator

import pytest

from echodistill import cluster as mapping
from echodistill.cluster import ClusterPool
from tests.dask_cluster import dask_cluster, square


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterPool]:
    """One worker of one thread."""
    with dask_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        cluster.start_workers(1)
        yield ClusterPool(cluster.client, "the test", None)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "BATCH_ITEMS", 4)


def test_results_come_in_order(pool: ClusterPool) -> None:
    numbers = [number % 6 for number in range(50)]
    assert list(pool.map(square, numbers)) == [number * number for number in numbers]
    assert list(pool.map(square, [])) == []


def test_an_exception_is_raised_where_its_item_is(pool: ClusterPool) -> None:
    results = pool.map(square, range(20))
    assert [next(results) for _ in range(6)] == [0, 1, 4, 9, 16, 25]
    with pytest.raises(ValueError, match="six") as caught:
        next(results)
    assert "in square" in caught.value.__notes__[0]


def test_an_exception_that_cannot_be_sent_is_reported(pool: ClusterPool) -> None:
    with pytest.raises(RuntimeError, match="LocalError: seven"):
        list(pool.map(square, [7]))


def test_no_more_is_sent_than_will_soon_be_taken(pool: ClusterPool) -> None:
    sent: list[int] = []
    results = pool.map(square, (sent.append(1) or 2 for _ in range(10_000)))  # type: ignore[func-returns-value]
    assert [next(results) for _ in range(9)] == [4] * 9
    assert len(sent) <= (2 + mapping.PENDING_PER_THREAD) * 4 + 1


def test_large_items_go_alone(pool: ClusterPool, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {1: 60, 2: 30, 3: 80, 4: 500, 5: 1}
    monkeypatch.setattr(mapping, "BATCH_BYTES", 100)
    assert list(mapping._batches(sizes, sizes.__getitem__)) == [[1, 2], [3], [4], [5]]
    assert list(pool.map(square, sizes, sizes.__getitem__)) == [1, 4, 9, 16, 25]
