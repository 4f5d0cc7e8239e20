"""The flows read DVC's graph: order, needs, and the lock while DVC writes it."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from echodistill.core.errors import UserError
from flows.dvc_repo import locked
from flows.graph import EVALUATION, PIPELINE, Meta, inputs_of_graph, read_graph, whole_graph
from tests.flow_repository import ROOT, STAGES, run_one
from tests.flow_repository import repository as repository


def test_the_graph_is_read_with_what_a_stage_needs_before_it(repository: Path) -> None:
    nodes = {node.name: node for node in read_graph(repository)}
    assert set(nodes) == set(STAGES)
    assert nodes["last"].needs == ("first",)
    assert nodes["first"].meta == Meta(pool="gpu")
    assert nodes["crashing"].meta.retries == 2
    order = [node.name for node in read_graph(repository)]
    assert order.index("first") == 0
    assert [node.name for node in read_graph(repository, "last")] == ["first", "last"]
    with pytest.raises(UserError, match=r"no stage 'nowhere'.*crashing"):
        read_graph(repository, "nowhere")


def test_every_stage_of_the_product_is_ordered_behind_what_it_needs() -> None:
    seen: set[str] = set()
    for node in read_graph(ROOT):
        assert set(node.needs) <= seen
        seen.add(node.name)
    assert {"train", "predict@base", "gate@promotion"} <= seen


def test_the_graph_is_not_read_while_dvc_writes_its_lock(repository: Path) -> None:
    """Another stage of the same run may be ending: its entry is not written in one go."""
    run_one("first", repository)
    written = (repository / "dvc.lock").read_text()
    with ThreadPoolExecutor() as pool, locked(repository):
        (repository / "dvc.lock").write_text(written[: written.index("outs")])
        graph, inputs = (
            pool.submit(read_graph, repository),
            pool.submit(inputs_of_graph, repository),
        )
        time.sleep(1)
        (repository / "dvc.lock").write_text(written)
        assert not graph.done()
        assert not inputs.done()
    assert len(graph.result()) == len(STAGES)
    assert inputs.result()


def test_an_unknown_key_in_meta_is_named() -> None:
    with pytest.raises(UserError, match=r"stage train has unknown keys \['pol'\]"):
        Meta.of("train", {"pol": "gpu"})


def test_a_corpus_for_testing_only_has_its_own_graph_and_needs_a_model(tmp_path: Path) -> None:
    def graph(source: str, model: str) -> str:
        raw = yaml.safe_load((ROOT / "params.yaml").read_text())
        raw["corpus"]["source"], raw["base"]["model"] = source, model
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
        return whole_graph(tmp_path)

    assert [graph("builtin", "nano"), graph("avqa", "x/y"), graph("mmau", "x/y")] == [
        PIPELINE,
        PIPELINE,
        EVALUATION,
    ]
    with pytest.raises(UserError, match=r"^base\.model: nano"):
        graph("mmau", "nano")


def test_inputs_outside_git_are_found(repository: Path) -> None:
    assert inputs_of_graph(repository) == [repository / "raw.txt"]
