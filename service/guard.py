"""The live parts of the service, made once at start: the only container there is."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detection.mentions import Names
from retrieval.search import Index
from service.adapters import Adapters
from service.admission import Keys
from service.backend import Backend
from service.judge import Judge
from service.metrics import Metrics
from service.policy import Policies
from service.queries import Queries
from service.rates import Rates
from service.settings import Settings

if TYPE_CHECKING:  # its libraries are an extra
    from service.traces import Traces


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Guard:
    """Settings and everything that was made from them."""

    settings: Settings
    keys: Keys
    rates: Rates
    policies: Policies
    index: Index
    names: Names
    judge: Judge
    embedded: Judge
    metrics: Metrics
    workers: Executor
    queries: Queries
    backend: Backend | None = None
    adapters: Adapters | None = None
    traces: Traces | None = None
