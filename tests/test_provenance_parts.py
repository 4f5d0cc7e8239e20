"""The parts provenance is made of, each by itself: the chain of stages, parameters,
sources of clips.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from echodistill.core.errors import UserError
from echodistill.core.records import Clip
from echodistill.lineage.chain import chain_of, maker_of, parameter, parse_reference
from echodistill.lineage.clips import source_state
from echodistill.lineage.dvc_lock import LockedStage
from echodistill.lineage.record import Record, parse_record
from tests.provenance_world import write


def record_of(**stages: tuple[list[str], list[str]]) -> Record:
    made = {
        name: {
            "command": "",
            "params": {},
            "deps": dict.fromkeys(deps, "1"),
            "outs": dict.fromkeys(outs, "1"),
        }
        for name, (deps, outs) in stages.items()
    }
    whole: dict[str, Any] = {
        "model": "m",
        "git": {},
        "flow_run": {},
        "place": None,
        "server": None,
        "lock_sha256": "",
        "addresses": {},
        "stages": made,
    }
    return parse_record(json.dumps(whole).encode(), "r")


def test_the_chain_puts_every_stage_before_all_it_read_from() -> None:
    record = record_of(
        first=(["raw"], ["a"]),
        check=(["a/part"], ["v"]),
        second=(["a", "v"], ["b"]),
        judge=(["m/run", "a", "other"], ["j"]),
        model=(["a", "b", "v", "noise"], ["m"]),
    )
    chain = chain_of(record)
    assert chain.behind == ("model", "second", "check", "first")
    assert chain.others == ("judge",)
    assert chain.raw == {"noise": "1", "raw": "1"}
    assert maker_of(record, "m/run") == "model"
    assert maker_of(record, "mm") is None
    with pytest.raises(UserError, match="no stage that made m"):
        chain_of(record_of(first=(["raw"], ["a"])))


def test_parameters_are_found_as_the_lock_writes_them() -> None:
    stage = LockedStage(
        "", {"params.yaml": {"corpus": {"source": "fsdd"}, "mixes.kinds": [1], "seed": 3}}, {}, {}
    )
    assert [
        parameter(stage, name)
        for name in ("corpus.source", "mixes.kinds", "seed", "seed.x", "corpus.path", "no")
    ] == [
        "fsdd",
        [1],
        3,
        None,
        None,
        None,
    ]


def test_sources_are_found_as_each_kind_of_source_names_them(tmp_path: Path) -> None:
    def state(source: str, content: bytes, kind: str) -> str:
        digest = hashlib.sha256(content).hexdigest()
        clip = Clip(
            "c", "g", "test", None, source, digest, "", 8_000, 1.0, -20.0, "audio-00000.tar", 0, 1
        )
        return source_state(clip, kind)

    write(tmp_path / "1_ann_0.wav", "one")
    write(tmp_path / "2_ann_0.wav", "two")
    pair = f"{tmp_path / '1_ann_0.wav'} + 2_ann_0.wav"
    assert state(pair, b"onetwo", "fsdd") == "ok"
    assert state(pair, b"twoone", "fsdd") == "changed"
    assert state(f"{tmp_path / '1_ann_0.wav'} + 3_ann_0.wav", b"one", "fsdd") == "not here"
    assert state(str(tmp_path / "1_ann_0.wav"), b"one", "folder") == "ok"
    assert state("espeak-ng:en+m1", b"", "builtin") == "synthesised"


def test_references_are_of_two_forms() -> None:
    assert parse_reference("echodistill@champion").alias == "champion"
    assert parse_reference("echodistill/12").version == "12"
