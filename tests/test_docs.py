"""The pages say what the code does: every setting, field, metric, error and link is held to its source."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import AwareDatetime, BaseModel, SecretStr
from pydantic.fields import FieldInfo

import service
from service import errors, fields, openapi, pipeline, source, turn, wire
from service.metrics import Metrics
from service.policy import Caller, Mode, Policy, StreamMode
from service.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
EXAMPLE = ROOT / "comity.example.yaml"
PAGES = sorted([README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
ERRORS: list[type[errors.ComityError]] = [errors.ComityError, *errors.ComityError.__subclasses__()]
Key = tuple[str, ...]


def text(name: str) -> str:
    """One page, or any other file of the checkout."""
    return (ROOT / name).read_text(encoding="utf-8")


def leaves(model: type[BaseModel] = Settings, path: Key = ()) -> Iterator[tuple[Key, FieldInfo]]:
    """Every setting that is no group, with its path."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, (*path, name))
        else:
            yield (*path, name), field


def shown(field: FieldInfo) -> str:
    """A default as YAML writes it."""
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "[]" if value == () else str(value)


def choices(kind: Any) -> str:
    """The values of a closed set."""
    return ", ".join(f"`{choice}`" for choice in get_args(kind))


def values(field: FieldInfo) -> str:
    """What a setting takes: choices, or a kind with its bounds; of a map, what it maps to."""
    origin = get_origin(field.annotation)
    if origin is Literal:
        return choices(field.annotation)
    inner = [kind for kind in get_args(field.annotation) if kind not in (type(None), ...)] or [field.annotation]
    inner = [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in inner]
    names: dict[Any, str] = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    names |= {
        SecretStr: "secret",
        Path: "path",
        Policy: "group",
        Caller: "key or group",
        AwareDatetime: "time",
    }
    if origin is tuple and get_origin(inner[0]) is Literal:
        return f"list of {choices(inner[0])}"
    name = names[inner[-1]]
    if origin in (tuple, dict):
        name = f"{'list' if origin is tuple else 'map'} of {name.replace('key ', 'keys ')}s"
    rules = [*field.metadata, *(rule for each in field.metadata for rule in getattr(each, "metadata", ()))]
    words = {"gt": "above", "ge": "at least", "le": "at most"}
    bounds = [f"{words[sign]} {getattr(rule, sign)}" for sign in words for rule in rules if hasattr(rule, sign)]
    return ", ".join([name, *bounds])


def setting_row(path: Key, field: FieldInfo) -> str:
    """A setting's row in docs/settings.md."""
    variable = PREFIX + "__".join(path).upper()
    name, default = ".".join(path), shown(field)
    return f"| `{name}` | `{variable}` | `{default}` | {values(field)} | {field.description} |"


def caller_row(name: str, field: FieldInfo) -> str:
    """The row of a field of an API key in docs/settings.md."""
    default = "–" if field.is_required() else f"`{shown(field)}`"
    return f"| `{name}` | {default} | {values(field)} | {field.description} |"


def field_row(field: fields.Field) -> str:
    """An OpenAI field's row in docs/api.md."""
    return f"| `{field.path}` | {field.policy} | {field.note} |"


def error_row(error: type[errors.ComityError]) -> str:
    """The beginning of an error's row in docs/api.md."""
    return f"| {error.status} | `{error.type}` | `{error.code}` |"


def instruments() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Name, kind, labels and help of every instrument, read from the source."""
    for node in ast.walk(ast.parse(text("service/metrics.py"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            kind = node.func.id
            if kind in ("Counter", "Gauge", "Histogram"):
                name, said, *labels = (ast.literal_eval(argument) for argument in node.args)
                yield name, kind.lower(), tuple(labels[0]) if labels else (), said


def metric_row(name: str, kind: str, labels: tuple[str, ...], said: str) -> str:
    """A metric's row in docs/metrics.md."""
    return f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels) or '–'} | {said} |"


def codes() -> set[str]:
    """Every error code that the service writes in its source."""
    found = {error.code for error in ERRORS if error.code}
    for file in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
    return found


def headers() -> list[str]:
    """Every header of the service's own: those that it writes, and the hints that it reads."""
    written = re.findall(
        r'"(x-comity-[a-z-]+)"', "".join(text(f"service/{name}.py") for name in ("reply", "report", "chat"))
    )
    return sorted({*written, *(f"x-comity-{name.replace('_', '-')}" for name in wire.HINTS)})


def folder_map() -> list[str]:
    """The folders that README's map names."""
    section = README.read_text(encoding="utf-8").partition("## Folders")[2].partition("\n## ")[0]
    return re.findall(r"^(\w+)/ ", section, re.MULTILINE)


def steps() -> list[str]:
    """The numbered steps in the docstring of the service package."""
    return re.findall(r"^\d+\. +(\w+)", service.__doc__ or "", re.MULTILINE)


@pytest.mark.parametrize(("path", "field"), list(leaves()), ids=[".".join(path) for path, _ in leaves()])
def test_setting_stands_in_its_table(path: Key, field: FieldInfo) -> None:
    """Each setting has a row with its variable, default, values and sentence."""
    assert setting_row(path, field) in text("docs/settings.md").splitlines()


@pytest.mark.parametrize("name", list(Caller.model_fields))
def test_field_of_a_key_stands_in_its_table(name: str) -> None:
    """Each field of an API key that is a group has a row with its default, values and sentence."""
    assert caller_row(name, Caller.model_fields[name]) in text("docs/settings.md").splitlines()


def test_table_of_settings_names_no_other() -> None:
    """A setting that is gone from the code is gone from the page."""
    found = re.findall(r"^\| `[\w.]+` \| `(COMITY_\w+)` \|", text("docs/settings.md"), re.MULTILINE)

    assert sorted(found) == sorted(PREFIX + "__".join(path).upper() for path, _ in leaves())


def test_example_configuration_holds_every_default() -> None:
    """The example file names every setting, none else, each with its default."""
    assert yaml.safe_load(text(EXAMPLE.name)) == yaml.safe_load(yaml.safe_dump(Settings().model_dump(mode="json")))


def test_example_configuration_explains_every_setting() -> None:
    """Beside each setting of the example file stands its sentence."""
    lines = text(EXAMPLE.name).splitlines()

    missing = [
        ".".join(path)
        for path, field in leaves()
        if not any(re.match(rf" *{path[-1]}: .*# {re.escape(field.description or '')}$", line) for line in lines)
    ]

    assert not missing


def test_example_configuration_loads() -> None:
    """The example file can be used as it is."""
    assert source.load(EXAMPLE) == Settings()


@pytest.mark.parametrize("field", [*fields.REQUEST, *fields.ANSWER], ids=lambda field: field.path)
def test_field_policy_stands_in_the_api_page(field: fields.Field) -> None:
    """Each OpenAI field has a row with its policy and the reason."""
    assert field_row(field) in text("docs/api.md").splitlines()


@pytest.mark.parametrize("constraint", fields.CONSTRAINTS, ids=lambda constraint: constraint.name)
def test_constraint_stands_in_the_api_page(constraint: fields.Constraint) -> None:
    """Each refused request field has a row with the reason."""
    assert f"| `{constraint.name}` | constrained | {constraint.note} |" in text("docs/api.md").splitlines()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_error_stands_in_the_api_page(error: type[errors.ComityError]) -> None:
    """Each kind of error has a row with status, type and code; the backend's own rejections have theirs."""
    wanted = "| theirs (4xx) | theirs | theirs |" if error is errors.UpstreamRejected else error_row(error)

    assert any(line.startswith(wanted) for line in text("docs/api.md").splitlines())


def test_every_error_code_stands_in_the_api_page() -> None:
    """No error code in the source is missing from the page."""
    page = text("docs/api.md")

    missing = sorted(code for code in codes() if f"`{code}`" not in page)

    assert not missing


@pytest.mark.parametrize(
    "name",
    [
        *("Role", "GroundingStatus", "Verdicts", "Coverage", "Reason", "Axis"),
        *("Action", "Path", "RepairOutcome", "AdapterOutcome"),
    ],
)
def test_value_set_stands_in_the_api_page(name: str) -> None:
    """Every value that a header or the `comity` object can take is named."""
    page = text("docs/api.md")

    missing = [value for value in get_args(getattr(turn, name)) if f"`{value}`" not in page]

    assert not missing


def test_schema_names_every_hint() -> None:
    """The API page offers exactly the hints that a body may hold, and their values."""
    for route in ("/v1/chat/completions", "/v1/completions"):
        schema = openapi.BODIES[route]["requestBody"]["content"]["application/json"]["schema"]
        hints = schema["properties"]["comity"]["properties"]

        assert set(hints) == set(wire.HINTS)
        assert hints["mode"]["enum"] == list(get_args(Mode))
        assert hints["stream_mode"]["enum"] == list(get_args(StreamMode))


@pytest.mark.parametrize("name", headers())
def test_header_stands_in_the_api_page(name: str) -> None:
    """Every header of the service's own is described."""
    assert f"`{name}`" in text("docs/api.md")


def test_source_names_every_instrument() -> None:
    """What the source is read for is what the registry holds, raw names included."""
    registered = {
        family.name + ("_total" if family.type == "counter" else "") for family in Metrics().registry.collect()
    }

    assert {name for name, *_ in instruments()} == registered


@pytest.mark.parametrize("instrument", list(instruments()), ids=lambda instrument: instrument[0])
def test_metric_stands_in_its_table(instrument: tuple[str, str, tuple[str, ...], str]) -> None:
    """Each metric has a row with its raw name, kind, labels and meaning."""
    assert metric_row(*instrument) in text("docs/metrics.md").splitlines()


def test_knowledge_page_names_the_cultures_described() -> None:
    """The list of described cultures is the list of files."""
    listed = re.findall(r"^\| `([\w-]+)` \| .* \| \d+ \|$", text("docs/knowledge.md"), re.MULTILINE)

    assert sorted(listed) == sorted(file.stem for file in (ROOT / "knowledge" / "descriptions").glob("*.jsonl"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    """No page links to a file that is not there."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    files = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:", target)]

    missing = [file for file in files if file and not (page.parent / file).exists()]

    assert not missing


def test_changelog_names_the_version() -> None:
    """The version in the changelog is that of the project and of the service."""
    version = tomllib.loads(text("pyproject.toml"))["project"]["version"]

    assert version == service.__version__
    assert version in text("CHANGELOG.md")
    assert "## [Unreleased]" in text("CHANGELOG.md")


@pytest.mark.parametrize("step", steps())
def test_step_of_the_service_exists(step: str) -> None:
    """Each step that the service's docstring numbers is a module of it, or a function of its pipeline."""
    folder = ROOT / "service"

    assert (folder / f"{step}.py").is_file() or (folder / step).is_dir() or callable(getattr(pipeline, step, None))


def test_modules_around_the_path_exist() -> None:
    """The modules that the service's docstring names beside the path are there."""
    around = re.sub(r"\s+", " ", (service.__doc__ or "").partition("Around it:")[2]).strip(" .")
    listed = re.split(r", |; [^:]+: ", around)  # after a semicolon: what the next of them are

    missing = [name for name in listed if not (ROOT / "service" / f"{name}.py").is_file()]

    assert not missing


def test_readme_tells_the_path_in_the_same_order() -> None:
    """README's numbered steps are those of the service's docstring."""
    assert re.findall(r"^\d+\. \*\*(\w+)\*\*", README.read_text(encoding="utf-8"), re.MULTILINE) == steps()


def test_readme_maps_folders_that_exist() -> None:
    """README's map names no folder that is not there, and every package."""
    listed = folder_map()
    missing = [name for name in listed if not (ROOT / name).is_dir()]

    assert not missing
    assert {"service", "retrieval", "index", "evaluation", "knowledge", "tests", "docs"} <= set(listed)


def test_readme_is_short() -> None:
    """A stranger reads README to its end: under 150 lines."""
    assert len(README.read_text(encoding="utf-8").splitlines()) < 150
