"""The reference cache through S3: a second machine asks the teacher nothing, damage is mended, a
store that goes away stops nobody.
"""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from echodistill.storage.client import Store, open_store
from echodistill.storage.entries import S3Entries
from echodistill.teachers.cache import TeacherTargets
from echodistill.teachers.references import get_or_compute
from echodistill.teachers.shared_cache import Entries, SharedCache
from tests.faulty_proxy import Proxy
from tests.seaweed import free_ports
from tests.storage_fixtures import keys_in, overwrite
from tests.test_cache import REQUESTS, Teacher, same, target

KEYS = [request.key for request in REQUESTS]


def run(
    folder: Path, entries: Entries, prepare: bool = True
) -> tuple[SharedCache, Teacher, dict[str, TeacherTargets]]:
    """What the stage does on a machine with this local folder."""
    cache, teacher = SharedCache(folder, entries), Teacher()
    if prepare:
        cache.prepare(KEYS)
    return cache, teacher, get_or_compute(cache, REQUESTS, teacher, 3, lambda done: None)


def assert_right(targets: dict[str, TeacherTargets]) -> None:
    assert targets.keys() == set(KEYS)
    assert all(same(targets[key], target(number)) for number, key in enumerate(KEYS))


@pytest.mark.parametrize("prepare", [True, False])
def test_a_second_machine_asks_the_teacher_nothing(
    store: Store, tmp_path: Path, prepare: bool
) -> None:
    cache, teacher, targets = run(tmp_path / "one", S3Entries(store), prepare)
    assert len(teacher.asked) == 3
    assert (cache.fetched, cache.sent, cache.damaged) == (0, 7, 0)
    assert_right(targets)
    cache, teacher, targets = run(tmp_path / "two", S3Entries(store), prepare)
    assert teacher.asked == []
    assert (cache.fetched, cache.sent, cache.damaged) == (7, 0, 0)
    assert_right(targets)


def test_preparing_takes_one_listing(
    store: Store, proxied: Store, proxy: Proxy, tmp_path: Path
) -> None:
    run(tmp_path / "cold", S3Entries(proxied))
    assert proxy.count("GET") == 1, "what is known to be absent is not asked for one by one"
    proxy.seen.clear()
    run(tmp_path / "two", S3Entries(proxied))
    assert proxy.count("GET .*list-type=2") == 1
    assert proxy.count("GET") == 1 + len(KEYS)
    proxy.seen.clear()
    run(tmp_path / "two", S3Entries(proxied))
    assert len(proxy.seen) == 1


def test_listing_goes_on_after_a_thousand(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = S3Entries(store)
    for key in KEYS:
        entries.put(key, b"x")
    plain = store.client.list_objects_v2
    monkeypatch.setattr(store.client, "list_objects_v2", lambda **asked: plain(**asked, MaxKeys=3))
    assert entries.keys() == set(KEYS)


@pytest.mark.parametrize("prepare", [True, False])
@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 1000])
def test_a_damaged_entry_is_counted_computed_and_replaced(
    store: Store, tmp_path: Path, prepare: bool, damage: bytes
) -> None:
    entries = S3Entries(store)
    run(tmp_path / "one", entries)
    overwrite(store, entries.object_key(KEYS[4]), damage)
    cache, teacher, targets = run(tmp_path / "two", entries, prepare)
    assert teacher.asked == [["4"]]
    assert (cache.fetched, cache.sent, cache.damaged) == (6, 1, 1)
    assert_right(targets)
    _, teacher, _ = run(tmp_path / "three", entries, prepare)
    assert teacher.asked == []


def test_a_damaged_local_entry_comes_from_the_store(store: Store, tmp_path: Path) -> None:
    cache, _, _ = run(tmp_path / "one", S3Entries(store))
    cache.path_of(KEYS[2]).write_bytes(b"torn")
    cache, teacher, targets = run(tmp_path / "one", S3Entries(store))
    assert teacher.asked == []
    assert cache.fetched == 1
    assert_right(targets)


def test_a_damaged_local_entry_is_never_sent(store: Store, tmp_path: Path) -> None:
    cache, _, _ = run(tmp_path / "one", S3Entries(store))
    store.client.delete_object(Bucket=store.place.bucket, Key=S3Entries(store).object_key(KEYS[2]))
    cache.path_of(KEYS[2]).write_bytes(b"torn")
    SharedCache(tmp_path / "one", S3Entries(store)).prepare(KEYS)
    assert S3Entries(store).get(KEYS[2]) is None


def test_the_first_writer_keeps_an_entry(store: Store) -> None:
    entries = S3Entries(store)
    entries.put(KEYS[0], b"first")
    entries.put(KEYS[0], b"second")
    assert entries.get(KEYS[0]) == b"first"
    entries.put(KEYS[0], b"third", instead_of=b"something else")
    assert entries.get(KEYS[0]) == b"first"
    entries.put(KEYS[0], b"fourth", instead_of=b"first")
    assert entries.get(KEYS[0]) == b"fourth"
    entries.put(KEYS[1], b"made", instead_of=b"gone meanwhile")
    assert entries.get(KEYS[1]) == b"made"


def test_a_repair_never_overwrites_another_repair(
    store: Store, proxied: Store, proxy: Proxy
) -> None:
    S3Entries(store).put(KEYS[0], b"damaged")
    proxy.hooks = [
        ("PUT", lambda: S3Entries(store).put(KEYS[0], b"their repair", instead_of=b"damaged"))
    ]
    S3Entries(proxied).put(KEYS[0], b"my repair", instead_of=b"damaged")
    assert proxy.hooks == []
    assert S3Entries(store).get(KEYS[0]) == b"their repair"


def test_machines_at_once_do_not_harm_each_other(store: Store, tmp_path: Path) -> None:
    gate, failures = threading.Barrier(3), []

    def machine(number: int) -> None:
        entries = S3Entries(open_store(store.place))
        gate.wait()
        try:
            assert_right(run(tmp_path / str(number), entries)[2])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=machine, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(keys_in(store)) == len(KEYS)
    _, teacher, targets = run(tmp_path / "last", S3Entries(store))
    assert teacher.asked == []
    assert_right(targets)


def test_a_store_that_goes_away_warns_once_and_the_next_run_sends_the_rest(
    store: Store, proxied: Store, proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy.hooks = [("PUT .*" + KEYS[4], lambda: proxy.faults.extend([("", "reset")] * 1000))]
    cache, teacher, targets = run(tmp_path / "one", S3Entries(proxied))
    assert len(teacher.asked) == 3
    assert_right(targets)
    assert cache.sent == 4
    warnings = capsys.readouterr().err
    assert warnings.count("warning:") == 1
    assert "Going on with the local reference cache alone" in warnings
    assert len(keys_in(store)) == 4
    cache, teacher, _ = run(tmp_path / "one", S3Entries(store))
    assert teacher.asked == []
    assert cache.sent == 3
    assert len(keys_in(store)) == 7


def test_a_store_that_is_away_from_the_start_costs_one_wait(
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0.01
    )
    away = open_store(replace(store.place, endpoint=f"http://127.0.0.1:{free_ports(1)[0]}"))
    _, teacher, targets = run(tmp_path / "one", S3Entries(away))
    assert len(teacher.asked) == 3
    assert_right(targets)
    assert capsys.readouterr().err.count("warning:") == 1


def test_entries_are_the_bytes_of_the_local_file(store: Store, tmp_path: Path) -> None:
    cache = SharedCache(tmp_path, S3Entries(store))
    cache.put(KEYS[0], TeacherTargets(torch.arange(2), torch.zeros(2, 3), None))
    assert S3Entries(store).get(KEYS[0]) == cache.path_of(KEYS[0]).read_bytes()
