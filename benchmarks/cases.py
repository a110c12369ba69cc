"""What is measured: the servers of a run, and the loads that each of them gets."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
ONE, MANY = 1, 16  # connections of a measurement
BACKEND, LITELLM, STAGES_OFF, JUDGE_OFF, JUDGE = "backend", "litellm", "stages-off", "judge-off", "judge"
_OFF = {
    "COMITY_DETECTION__ENABLED": "false",
    "COMITY_RETRIEVAL__ENABLED": "false",
    "COMITY_GROUNDING__ENABLED": "false",
    "COMITY_POLICY__MODE": "off",
}
COMITY = {
    STAGES_OFF: _OFF,
    JUDGE_OFF: {"COMITY_POLICY__MODE": "off"},
    JUDGE: {"COMITY_POLICY__MODE": "shadow"},
}


@dataclass(frozen=True, slots=True)
class Case:
    """One load on one server."""

    name: str
    server: str
    cultural: bool = False
    streams: bool = False

    @property
    def judged(self) -> bool:
        """Tell whether each answer is judged by one more request to the upstream."""
        return self.server == JUDGE


CASES = (
    Case("backend alone", BACKEND),
    Case("Comity, stages off", STAGES_OFF),
    Case("Comity, no cultural signal, judge off", JUDGE_OFF),
    Case("Comity, no cultural signal, LLM judge", JUDGE),
    Case("Comity, grounded, judge off", JUDGE_OFF, cultural=True),
    Case("Comity, grounded, LLM judge", JUDGE, cultural=True),
    Case("LiteLLM proxy", LITELLM),
    Case("backend alone, stream", BACKEND, streams=True),
    Case("Comity, stages off, stream", STAGES_OFF, streams=True),
    Case("LiteLLM proxy, stream", LITELLM, streams=True),
)


@dataclass(frozen=True, slots=True)
class Launch:
    """How one server is started; the command lacks its port, the environment is added to the caller's."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def launch(server: str, upstream: str) -> Launch:
    """Say how to start one server in front of an upstream's address."""
    if server == BACKEND:
        return Launch([sys.executable, "-m", "benchmarks.upstream"])
    if server == LITELLM:
        config = str(ROOT / "benchmarks" / "litellm.yaml")
        options = ["--config", config, "--host", "127.0.0.1", "--num_workers", "1", "--telemetry", "False"]
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
        return Launch(
            [str(litellm_folder() / "bin" / "litellm"), *options, "--port"],
            {**quiet, "BENCH_UPSTREAM": f"{upstream}/v1"},
        )
    environment = {"COMITY_BACKEND__URL": f"{upstream}/v1", **COMITY[server]}
    return Launch([sys.executable, "-m", "service", "serve", "--port"], environment)


def litellm_folder() -> Path:
    """Give the virtual environment that benchmarks/litellm.sh makes."""
    return ROOT / os.environ.get("LITELLM_VENV", ".venv-litellm")


def has_litellm() -> bool:
    """Tell whether the peer is installed whole."""
    return (litellm_folder() / ".comity-made").is_file()
