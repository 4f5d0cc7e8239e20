"""infra/accelerate: taken by accelerate itself, with the command in each file's head."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
INFRA = ROOT / "infra"
ACCELERATE = sorted((INFRA / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("path", ACCELERATE, ids=lambda path: path.stem)
def test_accelerate_takes_the_file_and_the_command_in_its_head(path: Path) -> None:
    launch = importlib.import_module("accelerate.commands.launch")
    config = importlib.import_module(
        "accelerate.commands.config.config_args"
    ).load_config_from_file(str(path))
    parser = launch.launch_command_parser()
    # accelerate does not look at keys inside these
    known = {action.dest for action in parser._actions}
    assert {*config.fsdp_config, *config.deepspeed_config} <= known

    (line,) = re.findall(r"^#   (accelerate launch .*)$", path.read_text(), flags=re.M)
    words = line.split()[2:]
    arguments, _, _ = launch._validate_launch_command(parser.parse_args(words))
    kinds = {
        "one-gpu": (False, False, False),
        "ddp": (True, False, False),
        "fsdp": (False, True, False),
    }
    expected = kinds.get(path.stem, (False, False, True))
    assert (arguments.multi_gpu, arguments.use_fsdp, arguments.use_deepspeed) == expected
    assert arguments.use_cpu is False

    dvc = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    stage = re.sub(
        r"\$\{paths\.(\w+)\}",
        lambda found: dvc["vars"][0]["paths"][found[1]],
        dvc["stages"]["train"]["cmd"],
    )
    assert f"exec python {' '.join(words[words.index('-m') :])}" == stage
    assert words[:2] == ["--config_file", f"infra/accelerate/{path.name}"]


def test_accelerate_shards_in_the_second_version_and_at_stage_three() -> None:
    fsdp = yaml.safe_load((INFRA / "accelerate" / "fsdp.yaml").read_text())["fsdp_config"]
    assert fsdp["fsdp_version"] == 2
    assert (
        yaml.safe_load((INFRA / "accelerate" / "deepspeed-zero3.yaml").read_text())[
            "deepspeed_config"
        ]["zero_stage"]
        == 3
    )
    transformers = importlib.util.find_spec("transformers")
    assert transformers is not None
    assert transformers.submodule_search_locations is not None
    models = Path(transformers.submodule_search_locations[0]) / "models"
    source = "".join(
        (models / name / f"modeling_{name}.py").read_text() for name in ("qwen2", "qwen2_audio")
    )
    for layer in fsdp["fsdp_transformer_layer_cls_to_wrap"].split(","):
        assert f"class {layer}(" in source
