"""Tests of infra/: the tools' own schemas, and rules beyond them: nothing unpinned, public,
unguarded or secret.
"""

import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
INFRA = ROOT / "infra"
BIN = Path(sys.executable).parent
KUBERNETES = "1.34"

SECRET_NAME = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|AUTH_STRING|TOKEN|CREDENTIAL|CONNECTION_URL")
NOT_SECRET = re.compile(r".*_SECRET_(NAME|KEY)")
"""Where a secret is, not what it is."""
PINNED = re.compile(r"[a-z0-9/-]+:\d+\.\d+[\w.-]*")
"""A tag with a version, of an image without a registry's host."""
NO_TELEMETRY = {
    "DO_NOT_TRACK",
    "PREFECT_SERVER_ANALYTICS_ENABLED",
    "GX_ANALYTICS_ENABLED",
    "MLFLOW_DISABLE_TELEMETRY",
}
OURS = ("prefect", "mlflow", "seaweedfs", "127.0.0.1")

COMPOSE: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
MANIFESTS = sorted(
    path for path in (INFRA / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml"
)
RESOURCES: list[dict[str, Any]] = [
    one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text())
]
WORKLOADS = {
    one["metadata"]["name"]: one
    for one in RESOURCES
    if one["kind"] in ("Deployment", "StatefulSet", "Job")
}
POOLS: dict[str, Any] = {
    name: json.loads((INFRA / "kubernetes" / f"{name}-pool.json").read_text())
    for name in ("cpu", "gpu")
}
PODS = [*WORKLOADS, *(f"{name}-pool" for name in POOLS)]
TEXTS = [
    path
    for path in [*INFRA.rglob("*"), ROOT / ".dockerignore"]
    if path.is_file() and path.name != ".env"
]


def call(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def pods() -> dict[str, Any]:
    """Pod specifications by name: of the workloads, and of the jobs that the pools make."""
    found = {name: one["spec"]["template"]["spec"] for name, one in WORKLOADS.items()}
    return found | {
        f"{name}-pool": job_of(pool)["spec"]["template"]["spec"] for name, pool in POOLS.items()
    }


def defaults(pool: dict[str, Any]) -> dict[str, Any]:
    return {name: one["default"] for name, one in pool["variables"]["properties"].items()}


def job_of(pool: dict[str, Any], **values: Any) -> dict[str, Any]:
    """The job that Prefect makes of a pool's template; what its Kubernetes worker fills in later is
    filled in here.
    """
    from prefect.utilities.templating import apply_values

    filled = {
        **defaults(pool),
        "name": "run",
        "command": ["prefect", "flow-run", "execute"],
        "env": [],
        **values,
    }
    manifest: dict[str, Any] = apply_values(pool["job_configuration"], filled)["job_manifest"]
    # the API makes a name of generateName; kubernetes-validate wants one
    manifest["metadata"]["name"] = manifest["metadata"].pop("generateName") + "1"
    return manifest


# Dockerfile


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions of each stage of the Dockerfile, the image it starts from first."""
    text = re.sub(
        r"\\\n", " ", re.sub(r"^\s*#.*\n", "", (INFRA / "Dockerfile").read_text(), flags=re.M)
    )
    found: dict[str, list[tuple[str, str]]] = {"": []}
    name = ""
    for line in filter(None, text.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            found[name] = []
            rest = image
        found[name].append((word, rest))
    return found


def test_hadolint_finds_nothing() -> None:
    call(BIN / "hadolint", "--failure-threshold", "style", INFRA / "Dockerfile")


def test_images_are_built_from_pinned_tags_and_end_as_a_plain_user() -> None:
    built = stages()
    arguments = dict(rest.split("=", 1) for word, rest in built.pop("") if word == "ARG")
    for name, instructions in built.items():
        image = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], instructions[0][1])
        assert image in built or PINNED.fullmatch(image), image
        if name in ("services", "worker"):
            assert [rest for word, rest in instructions if word == "USER"][-1:] == ["10001:10001"]


def test_no_secret_and_no_host_is_a_build_argument() -> None:
    for instructions in stages().values():
        for word, rest in instructions:
            if word in ("ARG", "ENV"):
                assert not SECRET_NAME.search(rest), rest
            if word == "ARG" and "INDEX" in rest:
                assert rest.endswith('=""')


def test_the_build_context_holds_what_is_copied_and_nothing_else() -> None:
    first, *rest = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert first == "*"
    let_in = {line[1:] for line in rest if line.startswith("!")}
    copied = set()
    for instructions in stages().values():
        for _, arguments in (
            one for one in instructions if one[0] == "COPY" and "--from" not in one[1]
        ):
            copied |= {word for word in arguments.split()[:-1] if not word.startswith("--")}
    assert copied == let_in
    assert not [name for name in copied if not (ROOT / name).exists()]


def test_packages_of_the_servers_are_pinned_beside_the_lock() -> None:
    def pins(path: Path) -> dict[str, str]:
        lines = [
            line.split(" ;")[0]
            for line in path.read_text().splitlines()
            if not line.startswith("#")
        ]
        return dict(line.split("==") for line in lines)

    servers, lock = pins(INFRA / "requirements-services.txt"), pins(ROOT / "requirements.lock")
    assert not set(servers) & set(lock)
    (install,) = re.findall(
        r"requirements-services.txt \\\n\s+([a-z0-9 -]+)\n", (INFRA / "Dockerfile").read_text()
    )
    assert set(install.split()) <= set(lock)


# compose.yaml


def test_compose_follows_the_compose_specification() -> None:
    call(
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        INFRA / "compose.yaml",
    )


def one_shots() -> set[str]:
    waits = [wait for one in SERVICES.values() for wait in one.get("depends_on", {}).items()]
    return {name for name, wait in waits if wait["condition"] == "service_completed_successfully"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_watched_and_confined(name: str) -> None:
    service = SERVICES[name]
    assert PINNED.fullmatch(service["image"])
    assert ("healthcheck" in service) != (name in one_shots())
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port)
    for needed, wait in service.get("depends_on", {}).items():
        assert wait["condition"] == (
            "service_completed_successfully" if needed in one_shots() else "service_healthy"
        )
    if name != "postgres":
        assert set(service["environment"]) >= NO_TELEMETRY
    for volume in service.get("volumes", []):
        source = volume.rsplit(":/", 1)[0]
        assert (
            source in COMPOSE["volumes"]
            or source == "${ECHODISTILL_REPOSITORY:-..}"
            or (INFRA / source).is_file()
        )


@pytest.mark.parametrize("name", SERVICES)
def test_a_password_of_compose_comes_from_the_environment_or_stops_it(name: str) -> None:
    for key, value in SERVICES[name]["environment"].items():
        if SECRET_NAME.search(key):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{key}: {value}"


def test_only_the_servers_reach_postgresql() -> None:
    assert {name for name, one in SERVICES.items() if "database" in one["networks"]} == {
        "postgres",
        "mlflow",
        "prefect",
    }
    assert COMPOSE["networks"]["database"] == {"internal": True}


def test_the_gpu_worker_is_asked_for_and_reserves_devices() -> None:
    asked_for = {name: one["profiles"] for name, one in SERVICES.items() if one.get("profiles")}
    assert asked_for == {"worker-gpu": ["gpu"], "worker-no-gpu": ["no-gpu"]}
    assert "deploy" not in SERVICES["worker-no-gpu"]
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_the_example_names_every_secret_and_holds_none(tmp_path: Path) -> None:
    example = (INFRA / "env.example").read_text()
    empty = set(re.findall(r"^(\w+)=$", example, flags=re.M))
    assert len(empty) == len(re.findall(r"^[A-Z]\w*=", example, flags=re.M))
    assert empty == set(re.findall(r"\$\{(\w+):\?", (INFRA / "compose.yaml").read_text()))
    # the command in its head, run in a copy
    (tmp_path / "infra").mkdir()
    shutil.copy(INFRA / "env.example", tmp_path / "infra")
    command = "\n".join(line[4:] for line in example.splitlines() if line.startswith("#   "))
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    made = tmp_path / "infra" / ".env"
    values = re.findall(r"^(\w+)=(?:admin:)?([0-9a-f]{48})$", made.read_text(), flags=re.M)
    assert {key for key, _ in values} == empty
    assert len({value for _, value in values}) == len(empty)
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert ".env" in (INFRA / ".gitignore").read_text().splitlines()


# Kubernetes


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_follows_the_schema_of_kubernetes(path: Path) -> None:
    output = call(BIN / "kubernetes-validate", "--strict", "-k", KUBERNETES, path)
    assert "WARN" not in output, output


def test_the_kustomization_holds_every_file() -> None:
    kustomization = yaml.safe_load((INFRA / "kubernetes" / "kustomization.yaml").read_text())
    assert {path.name for path in MANIFESTS} | {"../postgres"} == set(kustomization["resources"])
    made = {one["name"]: one for one in kustomization["configMapGenerator"]}
    assert made["work-pools"]["files"] == ["cpu-pool.json", "gpu-pool.json"]
    assert {line.split("=")[0] for line in made["echodistill"]["literals"]} >= NO_TELEMETRY
    asked = set(
        re.findall(
            r"configMap(?:Ref)?: \{name: ([\w-]+)", "".join(path.read_text() for path in MANIFESTS)
        )
    )
    assert asked == {*made, "postgres-init"}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl")
def test_kubectl_renders_the_kustomization() -> None:
    rendered = list(yaml.safe_load_all(call("kubectl", "kustomize", INFRA / "kubernetes")))
    assert len(rendered) == len(RESOURCES) + 3
    assert {one["metadata"].get("namespace") for one in rendered if one["kind"] != "Namespace"} == {
        "echodistill"
    }


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_confined(name: str) -> None:
    pod = pods()[name]
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    if not name.startswith("worker-"):
        assert pod["automountServiceAccountToken"] is False
    # variables such as MLFLOW_PORT, made for a Service, would be taken for settings
    assert pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
    for container in pod["containers"]:
        inner = container["securityContext"]
        assert inner["allowPrivilegeEscalation"] is False
        assert inner["readOnlyRootFilesystem"] is True
        assert inner["capabilities"] == {"drop": ["ALL"]}
        assert PINNED.fullmatch(container["image"])
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
        if name in WORKLOADS and WORKLOADS[name]["kind"] != "Job":
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_takes_its_passwords_from_the_secrets_of_the_readme(name: str) -> None:
    commands = (INFRA / "README.md").read_text().split("create secret generic ")[1:]
    documented = {
        command.split()[0]: re.findall(r"--from-literal=(\w+)=", command.split("kubectl")[0])
        for command in commands
    }
    for container in pods()[name]["containers"]:
        for variable in container.get("env", []):
            if SECRET_NAME.search(variable["name"]) and not NOT_SECRET.fullmatch(variable["name"]):
                reference = variable["valueFrom"]["secretKeyRef"]
                assert reference["key"] in documented[reference["name"]]
        for source in container.get("envFrom", []):
            if "secretRef" in source:
                assert source["secretRef"]["name"] == "echodistill-client"


def test_the_manifests_hold_no_secret_object() -> None:
    assert not [one for one in RESOURCES if one["kind"] == "Secret"]


def test_every_conversation_is_named() -> None:
    policies = {
        one["metadata"]["name"]: one["spec"] for one in RESOURCES if one["kind"] == "NetworkPolicy"
    }
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in WORKLOADS.values()]
    labels += [job_of(pool)["spec"]["template"]["metadata"]["labels"] for pool in POOLS.values()]
    assert {one["app"] for one in labels} == set(policies) - {"nothing", "names"}
    for name in set(policies) - {"nothing", "names"}:
        assert policies[name]["podSelector"] == {"matchLabels": {"app": name}}
    for service in (one for one in RESOURCES if one["kind"] == "Service"):
        name = service["metadata"]["name"]
        assert service["spec"]["selector"] in labels
        (ingress,) = policies[name]["ingress"]
        assert [port["port"] for port in ingress["ports"]] == [
            port["port"] for port in service["spec"]["ports"]
        ]
        # who may come in may also go out
        for source in ingress["from"]:
            selector = source["podSelector"]
            named = selector.get("matchLabels", {}).get("app")
            for caller in [named] if named else selector["matchExpressions"][0]["values"]:
                way_out = {
                    "to": [{"podSelector": {"matchLabels": {"app": name}}}],
                    "ports": ingress["ports"],
                }
                assert way_out in policies[caller]["egress"]


def test_compose_and_kubernetes_start_the_servers_alike() -> None:
    bucket = {"${ECHODISTILL_BUCKET:-echodistill}": "BUCKET", "$(ECHODISTILL_BUCKET)": "BUCKET"}
    for name in ("seaweedfs", "mlflow", "prefect", "bucket"):
        container = pods()[name]["containers"][0]
        here, there = (
            json.dumps(command) for command in (SERVICES[name]["command"], container["command"])
        )
        for old, new in bucket.items():
            here, there = here.replace(old, new), there.replace(old, new)
        assert here == there
        assert SERVICES[name]["image"] == container["image"]
    assert SERVICES["postgres"]["image"] == pods()["postgres"]["containers"][0]["image"]


# Prefect's work pools


@pytest.mark.parametrize("name", POOLS)
def test_prefect_takes_the_template_of_a_pool(name: str) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.utilities.schema_tools.validation import is_valid_schema, validate
    from prefect.utilities.templating import find_placeholders

    pool = POOLS[name]
    WorkPoolCreate(name=name, type="kubernetes", base_job_template=pool)
    is_valid_schema(pool["variables"])
    validate(defaults(pool), pool["variables"], raise_on_error=True)
    used = {found.name for found in find_placeholders(json.dumps(pool["job_configuration"]))}
    assert used == set(pool["variables"]["properties"])


@pytest.mark.parametrize("name", POOLS)
def test_prefect_makes_a_job_that_kubernetes_takes(name: str, tmp_path: Path) -> None:
    job = job_of(POOLS[name])
    assert "{{" not in json.dumps(job)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    assert "WARN" not in call(
        BIN / "kubernetes-validate", "--strict", "-k", KUBERNETES, tmp_path / "job.yaml"
    )
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {"secretRef": {"name": "echodistill-client"}} in container["envFrom"]


def test_gpus_are_a_variable_of_the_gpu_pool_alone() -> None:
    (container,) = job_of(POOLS["gpu"], gpu_count=3)["spec"]["template"]["spec"]["containers"]
    assert (
        container["resources"]["requests"]["nvidia.com/gpu"]
        == container["resources"]["limits"]["nvidia.com/gpu"]
        == 3
    )
    assert container["image"] == SERVICES["worker-gpu"]["image"]
    (container,) = job_of(POOLS["cpu"])["spec"]["template"]["spec"]["containers"]
    assert "nvidia.com/gpu" not in json.dumps(container)
    assert container["image"] == SERVICES["worker-cpu"]["image"]


# all of it


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_holds_a_secret_or_names_a_host(path: Path) -> None:
    text = path.read_text()
    # what a generated password, a cloud's key or a private key looks like
    assert not re.search(r"\b[0-9a-f]{24,}\b|AKIA[0-9A-Z]{12}|-----BEGIN|\bgh[pousr]_\w{20}", text)
    assert not re.search(r"://[^/\s:@]+:[^/\s@$]+@", text)
    for host in re.findall(r"https?://([\w.-]+)", text):
        assert host in OURS, host


@pytest.mark.parametrize("name", ["checkout.sh", "postgres/init.sh"])
def test_scripts_are_posix_and_executable(name: str) -> None:
    call("sh", "-n", INFRA / name)
    assert (INFRA / name).stat().st_mode & stat.S_IXUSR


def test_every_file_is_in_the_readme() -> None:
    readme = (INFRA / "README.md").read_text()
    ours = [
        path
        for path in TEXTS
        if path.is_relative_to(INFRA)
        and path.parent.name != "kubernetes"
        and path.name != "README.md"
    ]
    assert not [path.name for path in ours if path.name not in readme]
    assert not set(re.findall(r"\$\{(\w+):-", (INFRA / "compose.yaml").read_text())) - set(
        re.findall(r"`(\w+)`", readme)
    )
