"""``params.yaml``: what is wrong in it is one error that names the dotted key."""

import copy
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from echodistill.core.errors import UserError
from echodistill.core.yaml12 import dump_yaml, load_yaml
from echodistill.overrides import applied, apply_overrides
from echodistill.params.whole import load_params, validate_params

PARAMS = Path(__file__).parents[1] / "params.yaml"
MISSING = object()


def changed(dotted: str, value: object) -> dict[str, Any]:
    """The repository's parameters with one key set, or taken out."""
    raw = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    *outer, last = dotted.split(".")
    section = raw
    for part in outer:
        section = section[part]
    if value is MISSING:
        del section[last]
    else:
        section[last] = copy.deepcopy(value)
    return raw


def fault_of(raw: object) -> str:
    with pytest.raises(UserError) as caught:
        validate_params(raw, "params.yaml")
    message = str(caught.value)
    assert message.startswith("params.yaml: ")
    assert "\n" not in message
    assert "pydantic" not in message
    return message.removeprefix("params.yaml: ")


def test_the_repositorys_own_parameters() -> None:
    params = load_params(PARAMS)
    assert set(params.mixes.seen) | set(params.mixes.unseen) == set(params.mixes.kinds)
    assert not set(params.mixes.seen) & set(params.mixes.unseen)


def test_frozen() -> None:
    params = load_params(PARAMS)
    with pytest.raises(ValidationError, match="frozen"):
        params.seed = 2
    with pytest.raises(ValidationError, match="frozen"):
        params.train.methods.echodistill.clip = 0.3
    assert isinstance(params.mixes.kinds, tuple)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.methods.echodistill.clipp", 0.2, "unknown key"),
        ("mixin", {}, "unknown key"),
        ("train.steps", MISSING, "required"),
        ("gates", MISSING, "required"),
        ("workers", MISSING, "required"),
        ("workers.address", "localhost", r"write tcp://host:8786, or null"),
        ("workers.address", "http://host:8786", r"write tcp://host:8786, or null"),
        ("workers.address", "tcp://host", r"write tcp://host:8786, or null"),
        ("workers.address", "tcp://user:secret@host:8786", r"write tcp://host:8786, or null"),
        ("workers.address", 8786, "valid string"),
        ("base.nano.batch", -3, "greater than 0"),
        ("train.prompts_per_step", 0, "greater than 0"),
        ("train.rollouts", 1, "greater than or equal to 2"),
        ("generation.max_new_tokens", 0, "greater than 0"),
        ("generation.max_new_tokens", True, "true or false"),
        ("generation", MISSING, "required"),
        ("predict", {"max_new_tokens": 8}, "unknown key"),
        ("train.steps", "many", "valid integer"),
        ("train.steps", 1.5, "valid integer"),
        ("train.steps", None, "valid integer"),
        ("train.steps", True, "true or false"),
        ("train.methods.echodistill.clip", True, "true or false"),
        ("base.trust_remote_code", "maybe", "valid boolean"),
        ("train.lora", 16, "valid dictionary"),
        ("corpus.path", 5, "valid string"),
        (
            "corpus.source",
            "mmmu",
            (
                "'fsdd', 'mmau', 'mmar', 'mmsu', 'air-bench', 'avqa', 'voicebench', 'echodistill'"
                " or 'seen'"
            ),
        ),
        ("corpus.benchmark_rows", "train", "'test' or 'split'"),
        ("corpus.test", None, "valid dictionary"),
        ("corpus.test.manifest", MISSING, "required"),
        ("corpus.test.source", "mmmu", "'fsdd', 'mmau'"),
        ("corpus.test.source", "builtin", "reads the same: write null"),
        ("mixes.kinds", "gauss", r"a list is needed, not a single value: write \[gauss\]"),
        ("mixes.kinds", None, r"a list is needed, and nothing is given: write \[\]"),
        ("mixes.kinds", {"gauss": 1}, r"a list is needed: write \[\.\.\., \.\.\.\]"),
        ("mixes.snrs_db", 5, r"a list is needed, not a single value: write \[5\]"),
        ("compare.seeds", "1,2", r"a list is needed, not a single value: write \[1,2\]"),
        ("compare.folds", 2, r"write \[2\]"),
        ("mixes.snrs_db", [], "at least 1"),
        ("train.method", "ppo", "'echodistill', 'grpo'"),
        ("train.methods.grpo.learning_rate", 0, "greater than 0"),
        ("train.methods.echodistill.dual_clip", 0.9, "above 1, or 0"),
        ("train.methods.echodistill.dual_clip", math.inf, "finite"),
        ("train.temperature", math.inf, "finite"),
        ("train.accelerator", "turbo", "'none' or 'effopd'"),
        ("train.accelerator", None, "'none' or 'effopd'"),
        ("train.effopd", MISSING, "required"),
        ("train.effopd.candidates", 0, "greater than 0"),
        ("train.effopd.accept", "better", "'strict' or 'equal'"),
        ("train.effopd.parse_margin", 1.5, "less than or equal to 1"),
        ("train.effopd.itmes", 5, "unknown key"),
        ("base.nano.width", 100, "multiple of 48"),
        (
            "mixes.kinds",
            ["gauss", "shower", "traffic", "laugh", "hum"],
            r"\['hum'\] have no procedural noise; known: gauss, crowd",
        ),
        ("mixes.kinds", ["gauss", "shower", "traffic", "laugh", "gauss"], "twice"),
        ("mixes.snrs_db", [-10, 0, -10.0], "twice"),
        ("mixes.unseen", ["hum"], r"\['hum'\] are not in kinds"),
        ("mixes.procedural", ["hum"], r"\['hum'\] are not in kinds"),
        ("mixes.procedural", MISSING, "required"),
        ("mixes.procedural", "gauss", "a list is needed, not a single value"),
        ("corpus.min_duration_s", 1.2, "below max_duration_s"),
        ("corpus.test_share", 0.9, "left to train"),
        ("base.nano.min_snr_db", 41, "above max_snr_db"),
        ("evaluate.headline_max_snr_db", -11, "nothing to average"),
        ("mixes.decision_snrs_db", [5, 10], "nothing to decide on"),
        ("mixes.decision_snrs_db", [-10, -10], "twice"),
    ],
)
def test_a_fault_is_named_by_its_dotted_key(key: str, value: object, message: str) -> None:
    fault = fault_of(changed(key, value))
    assert fault.startswith(f"{key}: ")
    assert "; " not in fault.replace("; known:", "")  # one fault, not its echoes
    with pytest.raises(UserError, match=message):
        validate_params(changed(key, value), "params.yaml")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("train.metod", "train.method"),
        ("train.Method", "train.method"),
        ("method", "train.method"),
        ("max_duration_s", "corpus.max_duration_s"),
        ("corpus.max_duration", "corpus.max_duration_s"),
        ("corpus.test.pth", "corpus.test.path"),
        ("mixes.snr_db", "mixes.snrs_db"),
        ("compares.seeds", "compare.seeds"),
        ("predict.max_new_tokens", "generation.max_new_tokens"),
        ("base.nano.step", "base.nano.steps"),
    ],
)
def test_an_unknown_key_is_reported_with_the_one_that_was_meant(key: str, meant: str) -> None:
    with pytest.raises(
        UserError, match=re.escape(f"params.yaml has no key {key!r}: did you mean {meant}")
    ):
        apply_overrides(changed("seed", 1), [f"{key}=1"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["seed=3", "train.method=destill"],
            r"-S train\.method=destill: Input should be 'echodistill', .*: did you mean distill\?",
        ),
        (
            ["corpus.source=foldr"],
            (
                r"-S corpus\.source=foldr: Input should be 'builtin', 'folder', .*: did you mean"
                r" folder\?"
            ),
        ),
        (
            ["corpus.source=nowhere"],
            r"-S corpus\.source=nowhere: Input should be 'builtin', .* or 'seen'",
        ),
        (["train.steps=0"], r"-S train\.steps=0: Input should be greater than 0"),
        (
            ["mixes.snrs_db=[0, x]"],
            r"-S mixes\.snrs_db=\[0, x\]: mixes\.snrs_db\.1: .*valid number.* \(got 'x'\)",
        ),
        (
            ["compare.controls=[shufled]"],
            r"-S compare\.controls=\[shufled\]: 'shufled' is none of .*: did you mean shuffled\?",
        ),
        (
            ["mixes.kinds=[rain]"],
            (
                r"-S mixes\.kinds=\[rain\]: \['rain'\] have no procedural noise.*; known: gauss,"
                r" .*mixes\.noise: recordings\)"
            ),
        ),
        (
            ["mixes.kinds=[gauss, crowdd]"],
            r"-S mixes\.kinds=.*: \['crowdd'\] have no .*: did you mean crowd\?",
        ),
        (
            ["seed=3", "mixes.kinds=[gauss, crowd]"],
            (
                r"params\.yaml with -S seed=3 -S 'mixes\.kinds=\[gauss, crowd\]': mixes\.unseen:"
                r" \['laugh', 'shower', 'traffic'\] are not in kinds: leave them out, or add.*"
            ),
        ),
        (
            ["mixes.kinds=[gauss, crowd]", "train.steps=0"],
            r"-S train\.steps=0: .*; params\.yaml with -S .*: mixes\.unseen: .*",
        ),
    ],
)
def test_a_bad_value_of_an_override_is_blamed_on_the_override(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        applied(PARAMS, overrides)
    assert re.fullmatch(message.replace(r"params\.yaml", f"{PARAMS}"), str(caught.value))


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("train.method", "destill", "distill"),
        ("references.view", "Clean", "clean"),
        ("mixes.unseen", ["showr"], "shower"),
    ],
)
def test_a_misspelt_value_of_the_file_is_reported_with_the_one_that_was_meant(
    key: str, value: object, meant: str
) -> None:
    assert f": did you mean {meant}?" in fault_of(changed(key, value))


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("train.metod", "train.method"),
        ("corpus.max_duration", "corpus.max_duration_s"),
        ("compares", "compare"),
    ],
)
def test_an_unknown_key_of_the_file_is_reported_too(key: str, meant: str) -> None:
    assert fault_of(changed(key, 1)) == f"{key}: unknown key: did you mean {meant}?"


@pytest.mark.parametrize("key", ["foo.bar", "device", "x"])
def test_nothing_is_proposed_for_a_key_that_is_like_none(key: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"params.yaml has no key {key!r}") + "$"):
        apply_overrides(changed("seed", 1), [f"{key}=1"])


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("*/x.csv", "*/x.csv"),
        ("*.jsonl", "*.jsonl"),
        ("a #b", "a #b"),
        ("#x", "#x"),
        ("a: b", "a: b"),
        ("[ab]", "[ab]"),
        ("{a}", "{a}"),
        ("&a", "&a"),
        ("!x", "!x"),
        ("@x", "@x"),
        ("%x", "%x"),
        ("`x`", "`x`"),
        ("| x", "| x"),
        ("- x", "- x"),
        ("x=y", "x=y"),
        ("007", "007"),
        ("1e3", "1e3"),
        ("true", "true"),
        ("~/x", "~/x"),
        ("  a b ", "a b"),
        ("'*.csv'", "*.csv"),
        ('"a #b"', "a #b"),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_a_text_is_taken_as_it_is_written(written: str, value: str | None) -> None:
    raw = apply_overrides(changed("seed", 1), [f"corpus.manifest={written}"])
    assert raw["corpus"]["manifest"] == value
    assert load_yaml(dump_yaml(raw))["corpus"]["manifest"] == value


def test_values_that_are_no_texts_are_yaml() -> None:
    overrides = [
        "mixes.snrs_db=[0, 1e1]",
        "train.steps=0x10",
        "mixes.kinds=['*a', b]",
        "corpus.test.source=null",
    ]
    raw = apply_overrides(changed("seed", 1), overrides)
    assert (raw["mixes"]["snrs_db"], raw["train"]["steps"], raw["mixes"]["kinds"]) == (
        [0, 10.0],
        16,
        ["*a", "b"],
    )
    assert raw["corpus"]["test"]["source"] is None
    with pytest.raises(UserError, match="not valid YAML: put texts within it in quotes"):
        apply_overrides(raw, ["mixes.kinds=[*a]"])


@pytest.mark.parametrize("name", ["clean", "Clean", "CLEAN", "all kinds", "All kinds"])
def test_a_kind_of_noise_cannot_have_a_name_that_means_something_else(name: str) -> None:
    fault = fault_of(changed("mixes.kinds", [name, "shower", "traffic", "laugh"]))
    assert fault.startswith(f"mixes.kinds: {name!r} is the name of the ")
    assert "give the kind of noise another name" in fault


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "rain ",
        "\train",
        "a/b",
        "../up",
        "..",
        ".",
        ".git",
        "/etc",
        "a\\b",
        "rain@5",
        "a\nb",
        "a\0b",
        "\ud800",
    ],
)
def test_a_kind_of_noise_has_a_name_that_a_folder_can_have(name: str) -> None:
    raw = changed("mixes.kinds", [name, "hail"])
    raw["mixes"] |= {"unseen": ["hail"], "noise": "recordings"}
    with pytest.raises(UserError) as caught:
        validate_params(raw, "params.yaml")
    assert str(caught.value).startswith(
        f"params.yaml: mixes.kinds: {name!r} cannot name a kind of noise: write a word without"
    )


@pytest.mark.parametrize(
    "name",
    [
        "rain",
        "Bäche",
        "machine gun",
        "clean room",
        "rain, heavy",
        "雨",
        "kind-1.b",
        "(x)",
        "seen",
        "unseen",
        "none",
        "all",
    ],
)
def test_any_other_name_is_one(name: str) -> None:
    raw = changed("mixes.kinds", [name, "hail"])
    raw["mixes"] |= {"unseen": ["hail"], "noise": "recordings"}
    assert validate_params(raw, "params.yaml").mixes.seen == (name,)


def test_procedural_kinds_stand_beside_recorded_ones() -> None:
    raw = changed("mixes.kinds", ["rain", "gauss", "crowd"])
    raw["mixes"] |= {"unseen": ["rain"], "noise": "recordings", "procedural": ["crowd", "gauss"]}
    assert validate_params(raw, "params.yaml").mixes.recorded == ("rain",)
    raw["mixes"]["procedural"] = ["rain"]
    with pytest.raises(UserError, match=r"mixes\.procedural: \['rain'\] have no procedural noise"):
        validate_params(raw, "params.yaml")
    raw["mixes"]["procedural"] = ["gauss", "gauss"]
    with pytest.raises(UserError, match=r"mixes\.procedural: an entry is given twice"):
        validate_params(raw, "params.yaml")
    assert load_params(PARAMS).mixes.recorded == ()


def number_keys(section: dict[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in section.items():
        if isinstance(value, dict):
            keys += number_keys(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            keys.append(prefix + key)
    return keys


@pytest.mark.parametrize("key", number_keys(yaml.safe_load(PARAMS.read_text(encoding="utf-8"))))
def test_no_number_may_be_nan(key: str) -> None:
    assert fault_of(changed(key, math.nan)).startswith(f"{key}: ")


def test_an_element_of_a_list_is_named_by_its_place() -> None:
    assert "mixes.snrs_db.1: " in fault_of(changed("mixes.snrs_db", [0, math.nan]))
    assert fault_of(changed("mixes.kinds", ["gauss", 3])).startswith("mixes.kinds.1: ")


def test_every_kind_unseen() -> None:
    kinds = load_params(PARAMS).mixes.kinds
    assert fault_of(changed("mixes.unseen", list(kinds))).startswith(
        "mixes.unseen: every kind is unseen"
    )


def test_kinds_of_recordings_are_free() -> None:
    raw = changed("mixes.kinds", ["rain", "hail"])
    raw["mixes"] |= {"noise": "recordings", "unseen": ["hail"]}
    assert validate_params(raw, "params.yaml").mixes.seen == ("rain",)


def test_several_faults_are_reported_at_once() -> None:
    raw = changed("train.steps", -1)
    raw["generation"]["max_new_tokens"] = "x"
    fault = fault_of(raw)
    assert "train.steps: " in fault
    assert "generation.max_new_tokens: " in fault


@pytest.mark.parametrize("text", ["", "just words", "- 1\n- 2\n"])
def test_no_mapping_at_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="top level"):
        load_params(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\ntrain:\n  steps: 1\n  steps: 2\n", "'steps' is given twice, again in line 4"),
        ("seed: 1\nlora: {rank: 1, rank: 2}\n", "'rank' is given twice, again in line 2"),
        ("seed: [1\n", "not valid YAML"),
        ("seed: 1\n\ttrain: 2\n", "not valid YAML"),
        ("? [1]\n: 2\n", "not valid YAML"),
        ("\x00", "not valid YAML"),
        ("seed: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_params(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"seed: \xff\xfe")
    with pytest.raises(UserError, match="not valid YAML"):
        load_params(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml cannot be read \(No such file"):
        load_params(tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load_params(tmp_path)


def test_a_nano_without_transcripts_in_pre_training_is_no_teacher_with_that_view() -> None:
    raw = changed("references.view", "transcript")
    with pytest.raises(
        UserError, match=r"base\.nano\.transcript_share: nano is not trained on transcripts.* 0\.25"
    ):
        validate_params(raw, "params.yaml")
    raw["base"]["model"] = "org/model"
    validate_params(raw, "params.yaml")
    raw["base"] |= {"model": "nano", "nano": raw["base"]["nano"] | {"transcript_share": 0.25}}
    validate_params(raw, "params.yaml")
