"""The platform on one machine: made once, kept secret, up and down whole, back after a kill without
loss.
"""

import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from echodistill.core.errors import UserError
from echodistill.services.commands import mlflow_auth_config, services
from echodistill.services.loopback import bypass_proxies, without_socks
from echodistill.services.settings import Ports, make_settings, read_settings
from tests.seaweed import ten_ports

ROOT = Path(__file__).parents[1]
DEAD_PROXIES = {
    **dict.fromkeys(
        ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9"
    ),
    **dict.fromkeys(("all_proxy", "ALL_PROXY"), "socks5://127.0.0.1:9"),
}
"""Nobody answers there: what goes through a proxy does not arrive."""


def command(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    others = ("AWS_", "MLFLOW_", "PREFECT_", "no_proxy", "NO_PROXY")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(others)
    } | DEAD_PROXIES
    whole = [sys.executable, "-m", "echodistill.cli", "services", *arguments]
    result = subprocess.run(
        whole,
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


def test_settings_are_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    made = make_settings(9000, tmp_path / "s")
    assert read_settings(tmp_path / "s") == made == make_settings(None, tmp_path / "s")
    assert stat.S_IMODE((tmp_path / "s" / "settings.json").stat().st_mode) == 0o600
    moved = make_settings(9100, tmp_path / "s")
    assert moved.ports.s3 == 9100
    assert moved.credentials == made.credentials
    other = make_settings(9000, tmp_path / "t")
    assert len({*vars(made.credentials).values(), *vars(other.credentials).values()}) == 10
    (tmp_path / "s" / "settings.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        read_settings(tmp_path / "s")


@pytest.mark.parametrize("first", [0, 80, 65530])
def test_ports_nobody_may_use_are_refused(first: int) -> None:
    with pytest.raises(UserError, match="--first-port"):
        Ports.starting_at(first)


def test_everything_listens_on_loopback_and_no_secret_is_on_a_command_line(tmp_path: Path) -> None:
    settings = make_settings(9000, tmp_path)
    secrets = vars(settings.credentials).values()
    for service in services(settings):
        line = " ".join(service.command)
        assert not [secret for secret in secrets if secret in line]
        assert "0.0.0.0" not in line
        if service.ports:
            assert "127.0.0.1" in line


@pytest.mark.parametrize("name", ["a?b", "a%20b"])
def test_databases_stay_in_the_repository_whatever_its_name(name: str, tmp_path: Path) -> None:
    settings = make_settings(9000, tmp_path / name / ".echodistill/services")
    output = " ".join(
        " ".join((*service.command, *service.environment.values()))
        for service in services(settings)
    )
    addresses = [
        word
        for word in f"{output} {mlflow_auth_config(settings)}".split()
        if word.startswith("sqlite")
    ]
    assert len(addresses) == 3
    assert {address.partition(":///")[2] for address in addresses} == {
        f".echodistill/services/{file}"
        for file in ("mlflow/mlflow.db", "mlflow/auth.db", "prefect/prefect.db")
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"no_proxy": ""}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "example.org, .corp"}, "example.org,.corp,127.0.0.1,localhost,::1"),
        (
            {"no_proxy": "localhost", "NO_PROXY": "example.org"},
            "localhost,example.org,127.0.0.1,::1",
        ),
        ({"no_proxy": "*"}, "*,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "127.0.0.1,localhost,::1"}, "127.0.0.1,localhost,::1"),
    ],
)
@pytest.mark.parametrize(
    "name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"]
)
def test_loopback_is_excepted_from_every_proxy_and_nothing_else_is_changed(
    given: dict[str, str], expected: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bypass_proxies(given) == {"no_proxy": expected, "NO_PROXY": expected}
    for known in [known for known in os.environ if known.lower().endswith("_proxy")]:
        monkeypatch.delenv(known)
    for known, value in {
        **given,
        name: "http://proxy.example:3128",
        **bypass_proxies(given),
    }.items():
        monkeypatch.setenv(known, value)
    from botocore.utils import get_environ_proxies as of_botocore
    from httpx._utils import get_environment_proxies as of_httpx
    from requests.utils import get_environ_proxies as of_requests

    for host in ("127.0.0.1", "localhost"):
        assert of_requests(f"http://{host}:8471/") == of_botocore(f"http://{host}:8471/") == {}
    if "*" not in expected:
        assert of_requests("http://data.example/") != {}
        assert of_httpx()[f"all://{host}"] is None


def test_only_a_proxy_of_the_kind_socks_is_kept_from_the_services() -> None:
    given = {
        "ALL_PROXY": "socks5h://a:1",
        "http_proxy": "SOCKS4://a:1",
        "HTTPS_PROXY": "http://a:1",
        "NO_PROXY": "socks.example",
        "X": "socks",
    }
    assert without_socks(given) == {
        "HTTPS_PROXY": "http://a:1",
        "NO_PROXY": "socks.example",
        "X": "socks",
    }


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("platform")
    try:
        command(folder, "up", "--first-port", str(ten_ports()))
        yield folder
    finally:
        command(folder, "down", check=False)


def answer(url: str, credentials: str | None = None) -> int:
    request = urllib.request.Request(url)
    if credentials:
        from base64 import b64encode

        request.add_header("Authorization", "Basic " + b64encode(credentials.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def exported(folder: Path) -> dict[str, str]:
    exports = command(folder, "env").stdout.splitlines()
    return dict(shlex.split(line)[1].split("=", 1) for line in exports)


def test_all_is_up_and_nobody_gets_in_without_a_password(platform: Path) -> None:
    assert re.findall(r"^(\S+) +up ", command(platform, "status").stdout, re.MULTILINE) == [
        "s3",
        "prefect",
        "mlflow",
        "worker-cpu",
        "worker-gpu",
    ]
    env = exported(platform)
    by_name = "api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    runs = f"{env['MLFLOW_TRACKING_URI']}/{by_name}"
    flows = f"{env['PREFECT_API_URL']}/admin/version"
    assert (answer(runs), answer(runs, "admin:password1234")) == (401, 401)
    assert answer(runs, f"admin:{env['MLFLOW_TRACKING_PASSWORD']}") == 200
    assert answer(runs, "admin:password1234") == 401, (
        "the right one is remembered, a wrong one is not"
    )
    assert answer(flows) == 401
    assert answer(flows, env["PREFECT_API_AUTH_STRING"]) == 200
    assert answer(env["AWS_ENDPOINT_URL_S3"] + "/echodistill") == 403


def test_mlflow_starts_no_processes_for_jobs_that_nobody_gives_it(platform: Path) -> None:
    mlflow = json.loads((platform / ".echodistill/services/processes.json").read_text())["mlflow"]
    started = [
        " ".join(each.cmdline()) for each in psutil.Process(mlflow["pid"]).children(recursive=True)
    ]
    assert any("uvicorn" in each for each in started)
    assert not [each for each in started if "jobs" in each]


def test_no_log_holds_a_secret(platform: Path) -> None:
    secrets = json.loads((platform / ".echodistill/services/settings.json").read_text())[
        "credentials"
    ]
    for log in (platform / ".echodistill/services/logs").iterdir():
        text = log.read_text(errors="replace")
        assert not [
            name for name, value in secrets.items() if name != "s3_access_key" and value in text
        ], log.name


def test_killed_services_come_back_with_what_they_had(platform: Path) -> None:
    env = os.environ | DEAD_PROXIES | exported(platform)
    code = (
        "import mlflow; from mlflow import MlflowClient; c = MlflowClient(); e ="
        " c.create_experiment('kept')\nr = c.create_run(e).info.run_id; c.log_text(r, 'hello',"
        " 'a.txt'); print(r)"
    )
    run_id = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    ).stdout.split()[-1]
    known = json.loads((platform / ".echodistill/services/processes.json").read_text())
    for entry in known.values():
        # children live on, with their ports
        psutil.Process(entry["pid"]).send_signal(signal.SIGKILL)
    assert command(platform, "status", check=False).returncode == 1
    command(platform, "up")
    code = f"import mlflow; print(mlflow.artifacts.load_text('runs:/{run_id}/a.txt'))"
    assert (
        "hello"
        in subprocess.run(
            [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
        ).stdout
    )


def test_down_leaves_no_process_and_a_taken_port_is_named(platform: Path) -> None:
    command(platform, "down")
    here = str(platform / ".echodistill/services")
    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if here in " ".join(process.info["cmdline"] or [])
    ]
    assert left == []
    port = read_settings(platform / ".echodistill/services").ports.prefect
    with socket.socket() as other:
        # connections that just ended do not hold it
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        result = command(platform, "up", check=False)
    assert result.returncode == 1
    assert f"port {port} of prefect is taken" in result.stderr
    assert "Traceback" not in result.stderr
