"""What `comity index` does for each of its commands, and what it has to say afterwards."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from index import build as builder
from index import change, knowledge, model, publish, records, texts
from index.build import Content, Way
from index.change import Carried, Serving
from index.texts import Known
from index.verify import verify as check_version
from retrieval import encoder, search
from retrieval import vectors as stores
from retrieval.description import KNOWLEDGE, Description
from retrieval.layout import NAMES, IndexUnusable, Layout, Manifest, Version

OK, FAILED, UNUSABLE = 0, 1, 2
_NO_WORD = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command gives: its exit code, what it says, the same as JSON, and lines for standard error."""

    code: int
    text: str
    data: Any
    errors: tuple[str, ...] = ()


def build(options: argparse.Namespace) -> Outcome:
    """Build a version from the knowledge, with what operators added and without what they removed."""
    layout = Layout(options.index)
    hashed = builder.knowledge_hash(options.knowledge)
    if options.if_changed and (manifest := _unchanged(options, hashed)):
        return Outcome(OK, "", asdict(manifest), (f"index: version {manifest.version} is up to date",))
    found = knowledge.load(options.knowledge)
    with publish.lock(layout):
        _tell(f"{len(found.descriptions)} descriptions; loading the encoder {options.encoder}")
        from index import export  # with torch, which takes seconds

        made = export.export(options.encoder, layout, options.precision, options.query_prompt, options.passage_prompt)
        carried = Carried() if options.fresh else _carried(layout)
        content = builder.compose(found, options.knowledge, hashed, carried.added, carried.removed)
        kind, known = options.kind, None
        with suppress(IndexUnusable):  # what cannot be opened has nothing to take over
            if options.if_changed:
                kind, known = _taken(options, change.serving(layout), made.id, len(content.rows))
        way = Way(made, texts.FIELDS, kind, options.keep, known)
        return _published(layout, builder.build(content, options.knowledge, layout, way))


def add(options: argparse.Namespace) -> Outcome:
    """Add the rows of files to the serving version."""
    layout, fields = _layout(options), _fields(options.map)
    with publish.lock(layout):
        old = change.serving(layout)
        added = defaultdict[str, list[Description]](list)
        for file in options.files:
            name = options.name or _NO_WORD.sub("-", file.stem.lower()).strip("-")
            format = options.format or records.guess(file)
            if format is None:
                raise IndexUnusable(f"{file}: the format cannot be told; give --format {'|'.join(records.FORMATS)}")
            added[name] += records.read(
                file, format, culture=options.culture, fields=fields, origin=name, registry=old.parts.cultures
            )
        outcome = _change(options, layout, old, change.add(old, added))
    if outcome.data["version"] != old.manifest.version:
        before = {name: told["rows"] for name, told in old.manifest.added.items() if name in added}
        said = (f"index: the {rows} rows of {name} that were there are replaced" for name, rows in before.items())
        return replace(outcome, errors=tuple(said))
    return outcome


def remove(options: argparse.Namespace) -> Outcome:
    """Remove descriptions from the serving version: by id, of a culture, or what was added under a name."""
    layout = _layout(options)
    if sum(map(bool, (options.ids, options.culture, options.added))) != 1:
        raise IndexUnusable("say what to remove, and only one of them: ids, --culture ID, --added NAME")
    if options.added == KNOWLEDGE:
        raise IndexUnusable("the knowledge was not added; name its ids, or a culture with --culture ID")
    with publish.lock(layout):
        old = change.serving(layout)
        culture = options.culture and (old.parts.cultures.find(options.culture) or options.culture)
        return _change(options, layout, old, change.remove(old, options.ids, culture, options.added))


def verify(options: argparse.Namespace) -> Outcome:
    """Check the serving version, and say what was checked."""
    layout = Layout(options.index)
    version = layout.current()
    name = version.root.name
    report = check_version(version, encoder.load(layout.encoder(version.read_manifest().encoder_id)))
    said = [f"  {check}" for check in report.checks] + ([] if report.faults else [f"index: version {name} verifies"])
    errors = tuple(f"comity index: version {name}: {fault}" for fault in report.faults)
    data = {"ok": not errors, "version": name, **asdict(report)}
    return Outcome(FAILED if errors else OK, "\n".join(said), data, errors)


def show(options: argparse.Namespace) -> Outcome:
    """Print the serving version's manifest and the versions kept."""
    layout = Layout(options.index)
    manifest, kept = layout.current().read_manifest(), layout.published()
    added = ", ".join(f"{name} ({told['rows']})" for name, told in manifest.added.items())
    left = publish.left(layout)
    said = {
        "version": f"{manifest.version}, built at {manifest.built_at}",
        "holds": f"{manifest.descriptions} descriptions of {manifest.cultures} cultures",
        "vectors": f"{manifest.dimension} numbers each, {manifest.kind}: {', '.join(manifest.fields)}",
        "encoder": manifest.encoder_id,
        "knowledge": manifest.knowledge,
        "added": added or "nothing",
        "removed": f"{len(manifest.removed)} descriptions of the knowledge" if manifest.removed else "nothing",
        "rolled back": f"from {left['version']}; the next change of the knowledge is built" if left else "no",
    }
    lines = [f"{key + ':':<13}{value}" for key, value in said.items()]
    lines += ["versions:", *(f"  {name}{' (serving)' if name == manifest.version else ''}" for name in kept)]
    data = asdict(manifest) | {"serving": manifest.version, "versions": kept, "rolled_back": left}
    return Outcome(OK, "\n".join(lines), data)


def rollback(options: argparse.Namespace) -> Outcome:
    """Make the version before the serving one, or the one named, the serving one."""
    layout = _layout(options) if options.to is None else Layout(options.index)
    if not layout.versions.is_dir():
        raise IndexUnusable(f"there is no index in {layout.root}; run `comity index build`")
    with publish.lock(layout):
        name = _before(layout) if options.to is None else options.to
        if name is None:
            serving = layout.current().root.name
            said = f"comity index: there is no version before {serving} in {layout.root}"
            return Outcome(FAILED, "", {"version": serving}, (said,))
        if name not in layout.published():
            raise IndexUnusable(f"there is no version {name[:100]} in {layout.root}; `comity index show` lists them")
        _check(layout, layout.version(name))
        with suppress(IndexUnusable):  # the pointer may be damaged, or what it names: that may be built again
            if name < layout.current().root.name:
                publish.leave(layout, layout.current().read_manifest())
        publish.point(layout, name)
        if (left := publish.left(layout)) and left["version"] <= name:
            layout.left.unlink(missing_ok=True)  # nobody is turned away from it any more
    return Outcome(OK, f"index: version {name} is serving again", {"version": name})


def _before(layout: Layout) -> str | None:
    serving = layout.current().root.name
    return max((name for name in layout.published() if name < serving), default=None)


def _unchanged(options: argparse.Namespace, hashed: str) -> Manifest | None:
    """Give the serving manifest where this knowledge was built with this encoder already.

    Also where an operator rolled back from what was: that is left in place.
    """
    layout = Layout(options.index)
    try:
        serving = search.open_current(options.index, options.encoder).manifest
    except IndexUnusable:  # missing, damaged, of another format or encoder: build
        return None
    if options.kind not in (None, serving.kind) or (options.fresh and (serving.added or serving.removed)):
        return None
    wanted = _encoder_id(options)
    left = publish.left(layout) or {}
    for hash, id in ((serving.knowledge, serving.encoder_id), (left.get("knowledge"), left.get("encoder_id"))):
        if hash == hashed and wanted in (None, id) and serving.fields == texts.FIELDS and NAMES in serving.files:
            return serving
    return None


def _encoder_id(options: argparse.Namespace) -> str | None:
    """Give the id that the encoder would have, or None where the model is nowhere to be seen."""
    try:
        if known := model.pinned(options.encoder):  # nobody need look for its weights
            prompts = (options.query_prompt or "", options.passage_prompt or "")
            return model.Model(options.encoder, Path(), known, *prompts).id(options.precision)
        return model.find(options.encoder, options.query_prompt, options.passage_prompt).id(options.precision)
    except IndexUnusable:
        return None


def _layout(options: argparse.Namespace) -> Layout:
    """Give the folder of an index that is there, so that no command but a build makes one.

    Raises:
        IndexUnusable: there is none.
    """
    layout = Layout(options.index)
    layout.current()
    return layout


def _carried(layout: Layout) -> Carried:
    carried = change.carried(layout)
    if carried.damaged:
        told = f"as {carried.version} tells it" if carried.version else "not known; add and remove it again"
        _tell(f"version {carried.damaged} is damaged: what was added and removed is {told}")
    if carried.added or carried.removed:
        names = ", ".join(sorted({row.origin for row in carried.added})) or "nothing"
        _tell(
            f"carrying over {len(carried.added)} added descriptions ({names}), leaving out {len(carried.removed)} "
            "removed ones; --fresh forgets both"
        )
    return carried


def _change(options: argparse.Namespace, layout: Layout, old: Serving, content: Content) -> Outcome:
    if content == old.content(tuple(old.parts.descriptions), old.manifest.removed):
        said = f"index: version {old.manifest.version} holds exactly that already"
        return Outcome(OK, said, asdict(old.manifest))
    made = encoder.load(layout.encoder(old.manifest.encoder_id))
    kind, known = _taken(options, old, made.id, len(content.rows))
    way = Way(made, old.manifest.fields, kind, options.keep, known)
    return _published(layout, builder.change(content, layout, way))


def _taken(options: argparse.Namespace, old: Serving, encoder_id: str, count: int) -> tuple[str | None, Known | None]:
    """Give the kind of FAISS index that the next version is to have, and the vectors that it takes over.

    A kind that is not the one chosen by size was asked for once, and is kept.
    """
    chosen = stores.choose(old.manifest.descriptions).name
    kind = options.kind or (old.manifest.kind if old.manifest.kind != chosen else None)
    exact = stores.choose(count, kind).exact
    return kind, texts.known(old.manifest, old.parts, encoder_id, exact)


def _check(layout: Layout, version: Version) -> None:
    """Hold a version to what it must be to serve.

    Raises:
        IndexUnusable: it cannot be opened, or its encoder cannot.
    """
    manifest = version.read_manifest()
    search.open_parts(version, manifest)
    encoder.load(layout.encoder(manifest.encoder_id))


def _published(layout: Layout, version: Version) -> Outcome:
    manifest = version.read_manifest()
    said = f"index: version {manifest.version} of {manifest.descriptions} descriptions is serving from {layout.root}"
    return Outcome(OK, said, asdict(manifest))


def _fields(text: str | None) -> dict[str, str]:
    """Read a map of fields to columns, and of values to what they mean: JSON, or a file that holds it."""
    if text is None:
        return {}
    try:
        found = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IndexUnusable(f"--map: neither JSON nor a file that holds it ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise IndexUnusable("--map: wanted one JSON object of texts")
    return found


def _tell(said: str) -> None:
    sys.stderr.write(f"index: {said}\n")
