"""The command line from outside."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from echodistill import cli as commands
from echodistill.core.environment import RUN_OPTIONS
from echodistill.core.errors import UserError
from echodistill.doctor import _code, examine
from echodistill.overrides import EDITED, SAVED, apply_overrides, overridden, restore
from echodistill.reports import run_tables
from echodistill.run_lock import exclusive_run
from tests.test_pipeline import ROOT


def cli(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "echodistill.cli", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_help_names_every_command(tmp_path: Path) -> None:
    shown = cli("--help", cwd=tmp_path).stdout
    assert all(
        name in shown
        for name in (
            "run",
            "ask",
            "listen",
            "export-audio",
            "doctor",
            "publish",
            "register",
            "champion",
            "provenance",
        )
    )


@pytest.mark.parametrize(("command", "defaults"), [("ask", 4), ("compare", 2)])
def test_help_states_defaults_that_depend_on_other_things(
    command: str, defaults: int, tmp_path: Path
) -> None:
    assert cli(command, "--help", cwd=tmp_path).stdout.count("[default: ") == defaults


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["run", "-S", "mixes.snrs_db=[0, 5]"],
            "interrupted: `echodistill run -S 'mixes.snrs_db=[0, 5]'` continues where it stopped",
        ),
        (["doctor"], "interrupted: run `echodistill doctor` again"),
    ],
)
def test_an_interrupted_command_states_how_it_goes_on(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_given: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_run_dvc", interrupt)
    monkeypatch.setattr("echodistill.doctor.examine", interrupt)
    monkeypatch.setattr("sys.argv", ["echodistill", *arguments])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith(message)


def test_code_of_another_clone_is_reported(
    benchmark: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("echodistill.repro.repro", lambda *_: 0)
    commands.run(["corpus"], benchmark)
    assert not capsys.readouterr().err
    assert not _code().cure
    (tmp_path / "echodistill").mkdir()
    shutil.copy(ROOT / "echodistill/project.py", tmp_path / "echodistill")
    assert f"{tmp_path} has code of its own: give this clone its own .venv" in _code().cure
    commands.run(["corpus"], benchmark)
    assert f"warning: this command is of the clone {ROOT}" in capsys.readouterr().err
    monkeypatch.chdir(ROOT)
    assert not _code().cure


@pytest.mark.parametrize(("status", "added"), [(1, False), (3, True)])
def test_dvc_adds_no_second_line_to_the_error_of_a_stage(
    status: int, added: bool, tmp_path: Path
) -> None:
    (tmp_path / "dvc.yaml").write_text(f"stages: {{a: {{cmd: 'echo error: x; exit {status}'}}}}\n")
    code = (
        "import sys; from dvc.cli import main; main(['init', '-q', '--no-scm']); from flows.repro"
        " import repro; sys.exit(repro(['a']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode != 0
    assert "error: x" in ended.stdout
    assert ("failed to reproduce" in ended.stderr) == added


@pytest.mark.parametrize("folder", ["raw", "test", "noise"])
def test_recordings_that_a_user_puts_in_are_ignored_by_git(folder: str) -> None:
    paths = [f"data/{folder}/{name}" for name in ("a.wav", "x/b.wav", "README.md", "a.wav.dvc")]
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *paths], cwd=ROOT, capture_output=True, text=True
    )
    assert ignored.stdout.split() == paths[:2]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, echodistill.cli; print(sorted({'torch', 'transformers', 'mlflow', 'pandas',"
        " 'numpy'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
        ).stdout.strip()
        == "[]"
    )


@pytest.mark.parametrize(
    "arguments", [("run",), ("publish",), ("register",), ("export-audio", "out"), ("listen",)]
)
def test_outside_a_repository_it_reports_it(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = cli(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert "dvc.yaml" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_store_that_does_not_work_is_reported_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    for folder in ("raw", "test", "noise"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    monkeypatch.setenv("ECHODISTILL_S3", "s3://bucket/prefix")
    for name, value in {
        "ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "planted-secret",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    result = cli("run", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "http://127.0.0.1:9" in result.stderr
    assert "planted-secret" not in result.stderr + result.stdout


@pytest.fixture
def benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The working folder is a repository with a folder of a benchmark; the overrides that name
    it.
    """
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    for folder in ("raw", "test", "noise", "mmau"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return ["corpus.source=mmau", "corpus.path=data/mmau", "corpus.manifest=x.json"]


@pytest.mark.parametrize(
    ("command", "more", "message"),
    [
        (
            "run",
            [],
            (
                r"base\.model: nano is pre-trained on training clips, and a corpus that is used for"
                r" testing only has none\. .*-S base\.model=FOLDER"
            ),
        ),
        (
            "run",
            ["base.model=x/y", "evaluate.student=gone"],
            r"evaluate\.student: gone holds no trained student",
        ),
        (
            "run",
            ["base.model=/tmp/nosuch"],
            r"base\.model: there is no folder /tmp/nosuch$",
        ),
        (
            "run",
            ["base.model=nanoo"],
            r"base\.model: there is no model 'nanoo': did you mean nano\?",
        ),
        (
            "run",
            ["base.model=models/base"],
            (
                r"base\.model: models/base is where the pipeline puts the base.*cp -r models/base"
                r" models/mine"
            ),
        ),
        (
            "compare",
            ["base.model=x/y"],
            r"the corpus is used for testing only: nothing is trained.*run `echodistill run`",
        ),
    ],
)
def test_what_a_corpus_for_testing_only_cannot_do_is_reported_before_anything_runs(
    command: str,
    more: list[str],
    message: str,
    benchmark: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("echodistill.repro.repro", lambda *_args: pytest.fail("it ran"))
    before = Path("params.yaml").read_bytes()
    with pytest.raises(UserError, match=f"^{message}"):
        (
            commands.run(None, [*benchmark, *more])
            if command == "run"
            else commands.compare(False, [*benchmark, *more], 1)
        )
    assert Path("params.yaml").read_bytes() == before


def test_a_corpus_for_testing_only_is_evaluated_and_named_stages_run(
    benchmark: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []
    shown: list[str] = []

    def repro(stages: list[str], *_rest: object) -> int:
        ran.append(stages)
        return 0

    monkeypatch.setattr("echodistill.repro.repro", repro)
    monkeypatch.setattr(run_tables, "evaluation_table", lambda: shown.append("evaluation"))
    monkeypatch.setattr(run_tables, "result_table", lambda: shown.append("closing"))
    commands.run(None, [*benchmark, "base.model=x/y"])
    assert "nothing is trained, registered or promoted" in capsys.readouterr().out
    commands.run(["corpus", "gate@corpus"], benchmark)
    commands.run(None, [])
    assert (ran, shown) == (
        [["evaluation/dvc.yaml"], ["corpus", "gate@corpus"], []],
        ["evaluation", "closing"],
    )


def test_stages_are_told_the_options_that_the_user_gave(
    benchmark: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Started(Exception):
        """Raised in place of starting DVC."""

    told: list[str] = []

    def popen(_command: list[str], env: dict[str, str], **_rest: object) -> None:
        told.append(env[RUN_OPTIONS])
        raise Started

    monkeypatch.setattr("echodistill.repro.subprocess", SimpleNamespace(Popen=popen, PIPE=None))
    monkeypatch.setenv(RUN_OPTIONS, "-S left=over")
    monkeypatch.setattr("echodistill.tracking.client.make_store", lambda: None)
    for command in (
        lambda: commands.run(None, None),
        lambda: commands.run(["corpus"], ["mixes.snrs_db=[0, 5]", "seed=3"]),
        lambda: commands.compare(True, ["seed=3"], 1),
    ):
        with pytest.raises(Started):
            command()
    assert told == ["", "-S 'mixes.snrs_db=[0, 5]' -S seed=3", "--quick -S seed=3"]


@pytest.mark.parametrize(
    ("stage", "listed", "meant"),
    [
        ("trian", "code, corpus, mixes, base, references, train, predict, champion,", "train"),
        ("gate@copus", "gate@corpus, gate@mixes, gate@base, ", "gate@corpus"),
        ("nothing-like-it", "and parts of stages, e.g. predict@base", None),
    ],
)
def test_an_unknown_stage_is_reported_with_those_there_are(
    stage: str,
    listed: str,
    meant: str | None,
    benchmark: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("echodistill.repro.repro", lambda *_args: pytest.fail("it ran"))
    with pytest.raises(UserError) as caught:
        commands.run(["corpus", stage], benchmark)
    fault = str(caught.value)
    assert fault.startswith(f"there is no stage {stage!r}; there are ")
    assert listed in fault
    assert fault.endswith(f": did you mean {meant}?") == (meant is not None)
    assert "\n" not in fault


def test_whatever_else_dvc_takes_is_left_to_it(
    benchmark: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["predict", "predict@base", "models/base", "evaluation/dvc.yaml:predict", "dvc.yaml"]
    ran: list[list[str]] = []

    def repro(stages: list[str], *_rest: object) -> int:
        ran.append(stages)
        return 0

    monkeypatch.setattr("echodistill.repro.repro", repro)
    commands.run(given, benchmark)
    assert ran == [given]


def test_listening_without_a_student_names_the_cure_and_opens_nothing(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "models").mkdir()
    result = cli("listen", "--port", "0", cwd=tmp_path)
    assert result.returncode == 1
    assert (
        result.stderr
        == "error: models/student holds no trained model (run.json is missing): make one with"
        " `echodistill run train`\n"
    )
    assert not result.stdout


@pytest.mark.parametrize(
    ("port", "message"),
    [
        ("-1", "greater than or equal to 0"),
        ("65536", "less than or equal to 65535"),
        ("x", "integer"),
    ],
)
def test_listening_on_no_port_is_reported(port: str, message: str, tmp_path: Path) -> None:
    result = cli("listen", "--port", port, cwd=tmp_path)
    assert result.returncode == 2
    assert "--port" in result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def no_model_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing a model library is an error."""
    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("single_clip", "asked_clip"):
        monkeypatch.delitem(sys.modules, f"echodistill.inference.{name}", raising=False)


@pytest.fixture
def empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder is a repository without models; it has a file that is no recording."""
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "clip.txt").write_text("x")
    (tmp_path / "models/student").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(model: str | None = None, both: bool = False) -> str:
    """The error of asking about a file that is no recording."""
    with pytest.raises(UserError) as caught:
        commands.ask(Path("clip.txt"), "What?", None, model, both, "", None, None)
    return str(caught.value)


@pytest.mark.usefixtures("no_model_libraries")
def test_asking_outside_a_repository_is_reported_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for fault in (asked(), asked("base"), asked(both=True)):
        assert fault.endswith(
            "holds no dvc.yaml: run in the repository's root, or name a model folder, or a hub id"
            " (owner/name) with --model"
        )


@pytest.mark.usefixtures("no_model_libraries")
def test_a_missing_model_is_reported_at_once(empty_project: Path) -> None:
    no_base = "models/base is missing: make it with `echodistill run base`"
    assert asked("base") == no_base
    assert "models/student holds no trained model" in asked()
    run = empty_project / "models/student/run.json"
    run.write_text('{"weights": "full"}')
    assert asked(both=True) == no_base
    assert "not an audio file" in asked()  # a whole student needs no base
    run.write_text('{"weights": "lora"}')
    assert asked() == no_base


@pytest.mark.usefixtures("no_model_libraries", "empty_project")
@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ("studnt", "there is no model 'studnt': did you mean student?"),
        ("Base", "there is no model 'Base': did you mean base?"),
        (
            "gpt",
            (
                "there is no model 'gpt': give student, base, a model folder, or a hub id"
                " (owner/name)"
            ),
        ),
        ("/tmp/nosuch", "there is no folder /tmp/nosuch"),
        ("./nosuch", "there is no folder ./nosuch"),
        ("models/nosuch", "there is no folder models/nosuch"),
    ],
)
def test_a_name_that_can_be_no_model_is_refused_at_once(model: str, fault: str) -> None:
    assert asked(model) == f"--model {model}: {fault}"


@pytest.mark.usefixtures("no_model_libraries", "empty_project")
@pytest.mark.parametrize("model", ["owner/name", "models/student"])
def test_a_clip_that_is_no_recording_is_reported_at_once(model: str) -> None:
    assert "not an audio file" in asked(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--snr", "-5"), "--snr -5 needs a --noise"),
        (("--both", "--model", "base"), "leave --model out"),
        (("--noise", "crowd", "--snr", "nan"), "--snr nan: give a level from -40 to 60 dB"),
        (("--noise", "crowd", "--snr=-inf"), "--snr -inf: give a level"),
        (("--choices", "red"), "1 choice: give 2 to 26, or none"),
        (("--choices", "red, Red"), "choice 'red' is given twice"),
        (("--choices", "red,,blue"), "a choice is empty"),
    ],
)
def test_an_option_without_effect_or_sense_is_an_error(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = cli("ask", "clip.wav", "What?", *options, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr


def test_overrides_are_yaml_and_checked() -> None:
    raw = {"a": {"b": 1, "c": [1]}}
    assert apply_overrides(raw, ["a.b=2.5", "a.c=[3, 4]"]) == {"a": {"b": 2.5, "c": [3, 4]}}
    for bad in ("a.b", "a.x=1", "x=1", "a.b.c=1", "a.c=[1"):
        with pytest.raises(UserError, match="-S"):
            apply_overrides({"a": {"b": 1, "c": [1]}}, [bad])


def test_an_override_is_read_as_documented(tmp_path: Path) -> None:
    """`off` is a text and `1e-5` a number: the only fault is the one that was made on purpose."""
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    given = (
        "train.methods.echodistill.shaping=off",
        "train.methods.sft.learning_rate=1e-5",
        "train.steps=0",
    )
    result = cli("run", *(part for one in given for part in ("-S", one)), "corpus", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("error: -S train.steps=0: ")
    assert ";" not in result.stderr


def test_a_killed_override_is_restore_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = tmp_path / "params.yaml"
    original = (ROOT / "params.yaml").read_bytes()
    params.write_bytes(original)
    code = (
        "import time; from pathlib import Path; from echodistill.overrides import overridden\n"
        "with overridden(Path('params.yaml'), ['seed=99']): time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    while not SAVED.exists() or params.read_bytes() == original:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert b"99" in params.read_bytes()
    assert "restored" in (restore(params) or "")
    assert params.read_bytes() == original
    assert restore(params) is None


def test_an_edit_made_during_a_run_with_overrides_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    params = tmp_path / "params.yaml"
    params.write_bytes((ROOT / "params.yaml").read_bytes())
    with overridden(params, ["seed=5"]):
        edited = params.read_text().replace("seed: 5", "seed: 6")
        params.write_text(edited)
    assert params.read_text() == edited
    assert f"its content before the run is in {EDITED}" in capsys.readouterr().out
    assert EDITED.read_bytes() == (ROOT / "params.yaml").read_bytes()
    assert not SAVED.exists()


def test_two_runs_cannot_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with exclusive_run():
        code = "from echodistill.run_lock import exclusive_run\nwith exclusive_run(): print('in')"
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        second = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 1
        assert "another `echodistill run` is running" in second.stderr
    with exclusive_run():
        pass


def test_a_folder_that_cannot_be_written_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".echodistill").write_text("in the way")
    with pytest.raises(UserError, match=r"run\.lock cannot be written"), exclusive_run():
        pass


def test_the_doctor_works_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\nfrom echodistill.doctor import examine;"
        " print([f.cure for f in examine() if f.what == 'device'])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "make setup" in found.stdout


def test_an_override_ends_with_the_run_also_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = tmp_path / "params.yaml"
    params.write_bytes((ROOT / "params.yaml").read_bytes())
    with pytest.raises(RuntimeError), overridden(params, ["seed=5"]):
        assert b"seed: 5" in params.read_bytes()
        raise RuntimeError
    assert params.read_bytes() == (ROOT / "params.yaml").read_bytes()


def test_the_doctor_finds_what_is_here_and_names_cures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = {finding.what: finding for finding in examine()}
    assert not found["torch"].cure
    assert "clone" in found["repository"].cure
