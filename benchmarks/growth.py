"""How search grows with the index: vectors from a thousand to a million, and whole searches among descriptions."""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from benchmarks import cores, plot, points
from benchmarks.cases import ROOT
from benchmarks.compare import say
from benchmarks.points import KNOWLEDGE, Base
from retrieval import encoder
from retrieval import vectors as stores
from retrieval.encoder import Vectors
from retrieval.layout import Layout

ENCODER = "comity-minilm"
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
DESCRIPTIONS = 2_000
TOKENS = (35, 90)
NOISES = (0.1, 0.2, 0.3, 0.4)
_SENTENCES = 10_000  # of the knowledge, told of many peoples
_OWN = 800  # as many as it has of its own
_QUERIES, _FILTERED, _TEXTS = 1_000, 200, 200
_CULTURE = 2_000  # vectors of a culture
_ONE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_HEAD = (
    "vectors", "kind", "all: p50 ms", "p99", "R@10", "culture of 2,000: p50 ms", "R@10", "spread 2,000: p50 ms", "R@10",
    "a tenth: p50 ms", "R@10", "every vector compared, ms", "resident MB", "of it no file", "file MB", "build s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds by the clock, and seconds in which a core worked for children that have ended."""

    seconds: float
    cpu_seconds: float

    @classmethod
    def now(cls) -> Took:
        """Read both."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(time.perf_counter(), used.ru_utime + used.ru_stime)

    def __sub__(self, other: Took) -> Took:
        return Took(round(self.seconds - other.seconds, 2), round(self.cpu_seconds - other.cpu_seconds, 2))


def measure(sizes: Sequence[int], rounds: int, files: Sequence[Path]) -> dict[str, Any]:
    """Measure everything: each size in turn in every round, each time in a process of its own on one core.

    Args:
        files: JSON lines whose texts join the sentences of the knowledge as real ones.
    """
    with tempfile.TemporaryDirectory(prefix="comity-growth-") as folder:
        root = Path(folder)
        built = build(root)
        opened = encoder.load(Layout(root / "index").encoder(_manifest(root)["encoder_id"]))
        texts = root / "texts.json"
        texts.write_text(
            json.dumps(asked(Tokenizer.from_file(str(_folder(root) / "tokenizer.json")))), encoding="utf-8"
        )
        real = sentences(opened, files)
        chosen, levels = choose(real)
        made = [prepare(root / str(size), real, size, chosen["noise"]) for size in sizes]
        probes: dict[str, list[Any]] = defaultdict(list)
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for each in made:
                probes[str(each["vectors"])].append(_probe("vectors", str(root / str(each["vectors"])), each["kind"]))
            probes["index"].append(_probe("index", str(root / "index"), ENCODER, str(texts), str(time.time())))
    searches = probes.pop("index")
    return {
        "libraries": {name: importlib.metadata.version(name) for name in ("faiss-cpu", "numpy")},
        "base": {"sentences": len(real.vectors), "queries": len(real.queries), **chosen, "levels": levels},
        "sizes": [{**each, **_growth(probes[str(each["vectors"])])} for each in made],
        "index": {**built, **_whole(searches)},
    }


def build(root: Path) -> dict[str, Any]:
    """Build an index of few descriptions, then one of many in its place, and tell what each further one took."""
    count = points.own()
    took: dict[int, Took] = {}
    for number in (count, count, DESCRIPTIONS):  # the first also exports the encoder
        _write(root / "knowledge", number)
        say(f"building an index of {number:,} descriptions")
        arguments = ("index", "build", "--index", str(root / "index"), "--knowledge", str(root / "knowledge"))
        before = Took.now()
        _run("-m", "service", *arguments, "--encoder", ENCODER)
        took[number] = Took.now() - before
    more = took[DESCRIPTIONS] - took[count]
    return {
        "few": {"descriptions": count, **asdict(took[count])},
        "many": {"descriptions": DESCRIPTIONS, **asdict(took[DESCRIPTIONS])},
        "descriptions_a_second": round((DESCRIPTIONS - count) / more.seconds, 1),
        "descriptions_a_cpu_second": round((DESCRIPTIONS - count) / more.cpu_seconds, 1),
    }


def _write(root: Path, count: int) -> None:
    """Write a knowledge base of so many descriptions."""
    (root / "descriptions").mkdir(parents=True, exist_ok=True)
    (root / "cultures.jsonl").write_bytes((KNOWLEDGE / "cultures.jsonl").read_bytes())
    found: dict[str, list[str]] = defaultdict(list)
    for row in points.descriptions(count):
        found[row["culture"]].append(json.dumps(row, ensure_ascii=False) + "\n")
    for culture, lines in found.items():
        (root / "descriptions" / f"{culture}.jsonl").write_text("".join(lines), encoding="utf-8")


def asked(tokenizer: Tokenizer) -> dict[str, list[str]]:
    """Give texts of a number of tokens by that number: questions of the knowledge, one after another, cut."""
    questions = [sentence.text for sentence in points.sentences(500) if sentence.asked]
    found = {}
    for tokens in TOKENS:
        texts = []
        for number in range(_TEXTS):
            many = (questions[(number + more) % len(questions)] for more in range(tokens // 5))
            words = " ".join(many).split()[:tokens]
            while len(tokenizer.encode(" ".join(words)).ids) > tokens:
                words.pop()
            texts.append(" ".join(words))
        found[str(tokens)] = texts
    return found


def sentences(opened: encoder.OnnxEncoder, files: Sequence[Path]) -> Base:
    """Encode real sentences: those of the knowledge, told of many peoples where there are no files of more."""
    said = [*points.sentences(_OWN), *points.read(files)] if files else points.sentences(_SENTENCES)
    say(f"encoding {len(said):,} sentences")
    return points.base(said, opened.encode([sentence.text for sentence in said]), _QUERIES, mixed=bool(files))


def choose(real: Base) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Find the noise with which a tenth of the real sentences, grown tenfold, has neighbours as far as all of them.

    What is compared is how far real queries are from their 10th and 100th neighbour; medians.
    """
    whole = distances(real.queries, real.vectors)
    some = np.random.default_rng(1).choice(len(real.vectors), len(real.vectors) // 10, replace=False)
    out = np.empty_like(real.vectors)
    levels = []
    for noise in NOISES:
        points.grow(real.vectors[np.sort(some)], len(out), noise, out)
        levels.append({"noise": noise, **distances(real.queries, out)})
    best = min(levels, key=lambda level: apart(level, whole))
    return {"noise": best["noise"], "real": whole}, levels


def apart(level: dict[str, Any], whole: dict[str, Any]) -> float:
    """Tell how far the medians of two sets' distances to the 10th and 100th neighbour lie apart, both together."""
    return sum(abs(float(level[name]["median"] - whole[name]["median"])) for name in ("tenth", "hundredth"))


def distances(queries: Vectors, vectors: Vectors) -> dict[str, Any]:
    """Tell how far (1 - cosine) queries are from their first, tenth and hundredth neighbour."""
    scores, _ = points.nearest(queries, vectors, 100)
    found = {}
    for name, place in (("first", 1), ("tenth", 10), ("hundredth", 100)):
        far = 1 - scores[:, place - 1]
        low, middle, high = (round(float(value), 3) for value in np.quantile(far, (0.1, 0.5, 0.9)))
        found[name] = {"p10": low, "median": middle, "p90": high, "histogram": points.histogram(far)}
    return found


def prepare(folder: Path, real: Base, size: int, noise: float) -> dict[str, Any]:
    """Write the vectors of one size, the store of them, and what is truly nearest among all and among some rows."""
    folder.mkdir()
    say(f"{size:,} vectors")
    shape = (size, real.vectors.shape[1])
    out = np.lib.format.open_memmap(folder / "all.npy", mode="w+", dtype=np.float32, shape=shape)
    points.grow(real.vectors, size, noise, out)
    kind = stores.choose(size)
    started = time.perf_counter()
    stores.write(folder / "vectors.faiss", out, kind)
    took = time.perf_counter() - started
    np.save(folder / "queries.npy", real.queries)
    for name, rows in filters(size).items():
        queries = real.queries if rows is None else real.queries[:_FILTERED]
        _, near = points.nearest(queries, out if rows is None else out[rows], 10)
        np.save(folder / f"truth-{name}.npy", near if rows is None else rows[near])
        if rows is not None:
            np.save(folder / f"rows-{name}.npy", rows)
    size_mb = (folder / "vectors.faiss").stat().st_size / 1024**2
    far = distances(real.queries, out)
    return {
        "vectors": size,
        "kind": kind.name,
        "build_s": round(took, 2),
        "file_mb": round(size_mb, 1),
        "distances": far,
    }


def filters(size: int) -> dict[str, points.Rows | None]:
    """Give the rows that searches are held to: all, one culture's in one run, as many spread, a tenth in one run."""
    found: dict[str, points.Rows | None] = {"all": None}
    if size > _CULTURE:
        start = (size - _CULTURE) // 2
        found["culture"] = np.arange(start, start + _CULTURE)
        found["spread"] = np.sort(np.random.default_rng(2).choice(size, _CULTURE, replace=False))
    start = size // 3
    found["tenth"] = np.arange(start, start + size // 10)
    return found


def middle(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    """Give the median over rounds of the median and of the 99th percentile of each."""
    tails = [statistics.quantiles(times, n=100, method="inclusive")[98] for times in rounds]
    medians = [statistics.median(times) for times in rounds]
    return {"p50": round(statistics.median(medians), 3), "p99": round(statistics.median(tails), 3)}


def _growth(rounds: list[Any]) -> dict[str, Any]:
    searches = {}
    for name, first in rounds[0]["searches"].items():
        times = middle([one["searches"][name]["ms"] for one in rounds])
        searches[name] = {"rows": first["rows"], "recall": round(first["recall"], 4), **times}
    return {
        "searches": searches,
        "scan": middle([one["scan_ms"] for one in rounds]),
        "open_ms": round(statistics.median(one["open_ms"] for one in rounds), 2),
        **{name: _memory([one[name] for one in rounds]) for name in ("before", "resident")},
    }


def _memory(rounds: list[Any]) -> dict[str, float]:
    return {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}


def _whole(rounds: list[Any]) -> dict[str, Any]:
    first = rounds[0]
    return {
        "queries": {
            tokens: {key: middle([one["queries"][tokens][key] for one in rounds]) for key in times}
            for tokens, times in first["queries"].items()
        },
        **{key: round(statistics.median(one[key] for one in rounds), 3) for key in first if key.endswith("_s")},
        "resident": _memory([one["resident"] for one in rounds]),
    }


def table(found: dict[str, Any]) -> str:
    """Give the figures as Markdown: by number of vectors, then of whole searches."""
    index = found["index"]
    asked = "| tokens | encoding: p50 ms | with search of all: p50 | p99 | of a culture: p50 | p99 |"
    said = (
        f"{index['many']['descriptions']:,} descriptions: {index['descriptions_a_second']:.0f} a second to build "
        f"({index['descriptions_a_cpu_second']:.0f} in each second of a core's time), "
        f"{index['cold_s']:.2f} s from nothing to the first answer, {index['resident']['rss']:.0f} MB resident."
    )
    rows = [_row(each) for each in found["sizes"]]
    tokens = [_asked(tokens, times) for tokens, times in index["queries"].items()]
    head = [f"| {' | '.join(_HEAD)} |", f"|---:|---|{'---:|' * (len(_HEAD) - 2)}"]
    return "\n".join([*head, *rows, "", asked, "|---:|" + "---:|" * 5, *tokens, "", said])


def _row(each: dict[str, Any]) -> str:
    searches = each["searches"]
    cells = [f"{each['vectors']:,}", each["kind"], _cell(searches, "all", "p50", 2), _cell(searches, "all", "p99", 2)]
    cells.append(_cell(searches, "all", "recall", 3))
    for name in ("culture", "spread", "tenth"):
        cells += [_cell(searches, name, "p50", 2), _cell(searches, name, "recall", 3)]
    cells += [f"{each['scan']['p50']:.2f}", *(f"{each['resident'][key]:.0f}" for key in ("rss", "anonymous"))]
    cells += [f"{each['file_mb']:.1f}", f"{each['build_s']:.1f}"]
    return f"| {' | '.join(cells)} |"


def _cell(searches: dict[str, Any], name: str, figure: str, digits: int) -> str:
    return f"{searches[name][figure]:.{digits}f}" if name in searches else ""


def _asked(tokens: str, times: dict[str, Any]) -> str:
    whole, one = times["whole_ms"], times["culture_ms"]
    cells = (times["encode_ms"]["p50"], whole["p50"], whole["p99"], one["p50"], one["p99"])
    return f"| {tokens} | {' | '.join(f'{cell:.2f}' for cell in cells)} |"


def drawing(found: dict[str, Any]) -> str:
    """Draw how times and memory grow, as SVG."""
    sizes = found["sizes"]

    def line(name: str) -> list[tuple[float, float]]:
        return [(each["vectors"], each["searches"][name]["p50"]) for each in sizes if name in each["searches"]]

    times = {"all": line("all"), "a culture of 2,000": line("culture"), "a tenth": line("tenth")}
    times["every vector compared"] = [(each["vectors"], each["scan"]["p50"]) for each in sizes]
    memory = {"resident": [(each["vectors"], each["resident"]["rss"]) for each in sizes]}
    memory["of it not of a file"] = [(each["vectors"], each["resident"]["anonymous"]) for each in sizes]
    memory["the file"] = [(each["vectors"], each["file_mb"]) for each in sizes]
    return plot.svg([plot.Panel("search, ms (median)", "vectors", times), plot.Panel("memory, MB", "vectors", memory)])


def _probe(*arguments: str) -> Any:
    core = cores.split().service
    said = _run("-m", "benchmarks.probe", *arguments, core=core)
    return json.loads(said.splitlines()[-1])


def _run(*arguments: str, core: int | None = None) -> str:
    """Run Python on one thread, and where a core is given on that; give what it writes.

    Raises:
        SystemExit: it failed.
    """
    command = cores.pinned(core, [sys.executable, *arguments])
    environment = {**os.environ, **(_ONE if core is not None else {}), "TQDM_DISABLE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"benchmarks: {' '.join(arguments[:4])} failed: {done.stderr[-500:]}")
    return done.stdout


def _manifest(root: Path) -> Any:
    return json.loads(Layout(root / "index").current().manifest.read_text(encoding="utf-8"))


def _folder(root: Path) -> Path:
    return Layout(root / "index").encoder(_manifest(root)["encoder_id"])
