"""Output as it is found: encodings that lack our signs, readers that stop early, and narrow
terminals.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from echodistill.core.terminal import REPLACEMENTS
from tests.test_pipeline import ROOT
from tests.test_report_table import compared

ENCODINGS = (
    "ascii",
    "ascii:strict",
    "latin-1",
    "iso8859-15",
    "cp1252",
    "cp437",
    "koi8-r",
    "shift_jis",
    "gb2312",
    "utf-8",
    "utf-16",
)
TABLE = """
import sys
from pathlib import Path
from echodistill import cli
from echodistill.reports import run_tables
run_tables.METRICS = Path(sys.argv.pop())
cli.app.command("table")(run_tables.result_table)
cli.main()
"""


def printing(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Print the closing table of made-up figures as ``echodistill run`` does at its end."""
    (tmp_path / "metrics.json").write_text(json.dumps(compared()))
    command = [sys.executable, "-c", TABLE, "table", str(tmp_path / "metrics.json")]
    return subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_closing_table_is_printed_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    result = printing(tmp_path, PYTHONIOENCODING=encoding)
    assert result.stderr == b""
    shown = result.stdout.decode(encoding.partition(":")[0])
    assert "≤ 0 dB" in shown or "<= 0 dB" in shown
    assert "GSR" in shown.splitlines()[-1]


def test_the_closing_table_is_printed_where_the_locale_is_c(tmp_path: Path) -> None:
    result = printing(tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert result.returncode == 0
    assert b"<= 0 dB" in result.stdout


def test_a_name_that_the_encoding_lacks_stays_clear_in_output_and_error(tmp_path: Path) -> None:
    code = (
        "import sys; from echodistill.core.terminal import accept_any_text; accept_any_text()\nfor"
        " stream in (sys.stdout, sys.stderr): print('caf\\xe9 \\u4f60 \\udcff ' + sys.argv[1],"
        " file=stream)"
    )
    command = [sys.executable, "-X", "utf8", "-c", code, "".join(REPLACEMENTS)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii:strict"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (
        result.stdout
        == result.stderr
        == "caf\\xe9 \\u4f60 \\udcff " + "".join(REPLACEMENTS.values()) + "\n"
    )


def into_a_closed_pipe(*command: str, cwd: Path, both: bool = False) -> tuple[int, str]:
    """Run a command whose reader is gone before it prints. Return its exit status and its standard
    error.
    """
    reading, writing = os.pipe()
    os.close(reading)
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=writing,
            stderr=writing if both else subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writing)
    _, output = process.communicate()
    return process.returncode, output or ""


@pytest.mark.parametrize(
    "arguments", [("--help",), ("services", "--help"), ("run", "--help"), ("doctor",)]
)
def test_a_reader_that_stops_early_ends_a_command_without_a_word(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    assert into_a_closed_pipe(
        sys.executable, "-m", "echodistill.cli", *arguments, cwd=tmp_path
    ) == (1, "")


def test_head_ends_the_closing_table_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(compared()))
    command = (sys.executable, "-c", TABLE, "table", str(tmp_path / "metrics.json"))
    assert into_a_closed_pipe(*command, cwd=tmp_path) == (1, "")
    assert into_a_closed_pipe(*command, cwd=tmp_path, both=True)[0] == 1


def test_a_stage_whose_output_is_not_read_ends_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    code = (
        "from echodistill.stages.entry import run_stage\ndef stage(params, text: str): print(text *"
        " 100_000)\nrun_stage(stage, ())"
    )
    assert into_a_closed_pipe(sys.executable, "-c", code, "x", cwd=tmp_path) == (1, "")


def test_another_pipe_that_breaks_is_not_hidden(tmp_path: Path) -> None:
    code = (
        "import os; from echodistill.core.terminal import exit_on_broken_pipe\n"
        "reading, writing = os.pipe(); os.close(reading)\n"
        "with exit_on_broken_pipe(): print('said'); os.write(writing, b'x')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.stdout == "said\n"
    assert "BrokenPipeError" in result.stderr
