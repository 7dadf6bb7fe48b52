"""The benchmark harness: its workloads run, its arithmetic and its picture are right."""

import math
import timeit
from xml.etree import ElementTree

import pytest

import flambeau
from benchmarks import machine, summary
from benchmarks.children import Pair, Side
from benchmarks.measure import Row, scaling_row
from benchmarks.workloads import GROUPS, WORKLOADS
from benchmarks.workloads.common import Work, Workload

# Every seventh workload keeps the test short and visits every group; models are run by their own
# tests elsewhere and are sampled more thinly.
SAMPLE = [w for i, w in enumerate(WORKLOADS) if i % (29 if w.memory else 7) == 0]


def test_every_group_has_workloads_and_names_are_unique() -> None:
    assert {w.group for w in WORKLOADS} == set(GROUPS)
    assert len({w.key for w in WORKLOADS}) == len(WORKLOADS) >= 80


@pytest.mark.parametrize("workload", SAMPLE, ids=[w.key for w in SAMPLE])
def test_workload_runs(workload, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.workloads.start.FOLDER", tmp_path)
    flambeau.manual_seed(0)
    statement, names = workload.build(flambeau)
    timeit.Timer(statement, globals=names).timeit(1)


def test_a_child_that_takes_too_long_is_replaced() -> None:
    with Pair((Side("flambeau"), Side("flambeau"))) as pair:
        pair.children[0].patience = 0.01
        with pytest.raises(RuntimeError, match="no answer within 0 s"):
            pair.children[0].ask(do="prepare", key=WORKLOADS[0].key)
        pair.revive()
        for child in pair.children:
            with pytest.raises(RuntimeError, match="StopIteration"):
                child.ask(do="prepare", key="no such workload")


def test_means_are_geometric_and_count_what_is_slower() -> None:
    rows = [Row("rows", "a", flambeau=1, torch=4), Row("rows", "b", flambeau=4, torch=1)]
    rows.append(Row("data", "c", flambeau=1, torch=10))
    by_group = {line["group"]: line for line in summary.summarise(rows)}
    assert math.isclose(by_group["rows"]["mean"], 1.0)
    assert by_group["rows"]["above_one"] == 1
    assert math.isclose(by_group["all"]["mean"], (0.25 * 4 * 0.1) ** (1 / 3))


def test_failed_rows_are_no_success() -> None:
    row = Row("rows", "a", flambeau=None, torch=4, target=1.0, error="flambeau: no such thing")
    assert row.ratio is None
    assert row.reached is None
    assert summary.summarise([row]) == []


def test_floor_is_the_greater_of_bytes_and_flops() -> None:
    limits = machine.Machine("test", peak=100.0, bandwidth={10: 10.0, 1000: 5.0})
    assert limits.floor(Work(bytes=10, flops=50)) == 1.0
    assert limits.floor(Work(bytes=100, flops=50)) == 20.0
    assert limits.floor(Work(flops=500)) == 5.0
    assert limits.floor(None) is None


def test_scaling_asks_no_more_than_memory_allows() -> None:
    streaming = Workload("rows", "a", lambda torch: ("", {}), Work(bytes=100 << 20))
    row = scaling_row(streaming, two=8e-3, one=10e-3, rate=25 << 30)
    assert row.floor == pytest.approx(3906.25)
    assert row.target == pytest.approx(1 / 1.7)
    row = scaling_row(streaming, two=8e-3, one=10e-3, rate=15 << 30)
    assert row.target == pytest.approx(100 / 15 / 1024 / 10e-3 / 0.8)
    assert row.reached
    assert scaling_row(streaming, two=8e-3, one=10e-3, rate=1 << 30).target == 1.0
    cached = Workload("rows", "b", lambda torch: ("", {}), Work(bytes=1 << 20))
    row = scaling_row(cached, two=8e-3, one=10e-3, rate=15 << 30)
    assert row.floor is None
    assert not row.reached
    assert scaling_row(cached, two=None, one=None, rate=1.0).ratio is None


def test_picture_is_well_formed_and_has_a_dot_for_each_row() -> None:
    rows = [Row("rows", str(i), flambeau=i + 1, torch=2) for i in range(5)]
    picture = ElementTree.fromstring(summary.draw(rows, "a < b"))
    circles = picture.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 5


def test_peak_kernel_does_what_it_counts() -> None:
    assert machine.measure_peak() > 1e8
    assert machine.measure_streaming(1 << 20) > 1e7
