"""The exported encoder: unit vectors that do not depend on company, prompts, and a clear error for a damaged file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from retrieval import encoder
from retrieval.encoder import EncoderCard, OnnxEncoder, mark
from retrieval.layout import IndexUnusable, Layout

ROOT = Path(__file__).parents[2]
TEXTS = [
    "Where do I put my shoes?",
    "日本の家では玄関で靴を脱ぎます。",
    "هل أخلع حذائي؟",
    "ご飯 with rice и рис 🍚\n\t.",
    "",
    " ",
    "\x00\x07",
    "shoe " * 5_000,
    "靴" * 50_000,
    "x" * 50_000,
    "e\u0301" * 300,
]


@pytest.fixture(scope="module")
def exported() -> Path:
    """The folder of the encoder that the built index uses."""
    layout = Layout(ROOT / "var" / "index")
    return layout.encoder(layout.current().read_manifest().encoder_id)


@pytest.fixture(scope="module")
def onnx(exported: Path) -> OnnxEncoder:
    """The encoder, its checksums verified."""
    return encoder.load(exported)


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """A folder with the encoder's files, of which any may be replaced."""
    for file in exported.iterdir():
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


def test_unit_vectors(onnx: OnnxEncoder) -> None:
    """Every text, long, empty or in mixed scripts, has a vector of length one."""
    vectors = onnx.encode(TEXTS)
    assert ((len(TEXTS), onnx.card.dimension), np.dtype(np.float32)) == (vectors.shape, vectors.dtype)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


def test_no_texts(onnx: OnnxEncoder) -> None:
    """No texts give no vectors, in the shape of vectors."""
    assert (0, onnx.card.dimension) == onnx.encode([]).shape


@pytest.mark.parametrize("arrange", [list, lambda texts: texts[::-1], lambda texts: texts * 4])
def test_company_of_other_texts(onnx: OnnxEncoder, arrange: Callable[[list[str]], list[str]]) -> None:
    """A text has the same vector alone, in any order and among many, to the last bit."""
    alone = {text: onnx.encode([text])[0] for text in TEXTS}
    texts = arrange(TEXTS)
    np.testing.assert_array_equal(onnx.encode(texts), np.stack([alone[text] for text in texts]))


def test_same_text_twice(onnx: OnnxEncoder) -> None:
    """The same text gives the same bytes each time."""
    assert onnx.encode(TEXTS[:1]).tobytes() == onnx.encode(TEXTS[:1]).tobytes()


def test_beyond_the_limit(onnx: OnnxEncoder) -> None:
    """Tokens beyond `max_tokens` are cut, so they change nothing."""
    long = "shoe " * (2 * onnx.card.max_tokens)
    np.testing.assert_array_equal(onnx.encode([long]), onnx.encode([long + "in the rain"]))


def test_nearness_is_meaning(onnx: OnnxEncoder) -> None:
    """A question is nearer to the sentence that answers it than to one about something else."""
    question, answer, other = onnx.encode(
        ["Where do I put my shoes?", "Guests leave their footwear at the door.", "The train to the north is late."]
    )
    assert question @ answer > question @ other + 0.2


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "encoder.json"])
@pytest.mark.parametrize("bytes", [None, b"", b"damaged"])
def test_damaged_file(copy: Path, name: str, bytes: bytes | None) -> None:
    """A file that is missing, empty or damaged makes the encoder unusable, and the error says what to do."""
    (copy / name).unlink()
    if bytes is not None:
        (copy / name).write_bytes(bytes)
    with pytest.raises(IndexUnusable, match="run `comity index build`"):
        encoder.load(copy)


def write_card(folder: Path, card: dict[str, object]) -> None:
    """Replace the card of a copied encoder."""
    (folder / "encoder.json").unlink()
    (folder / "encoder.json").write_text(json.dumps(card), encoding="utf-8")


def refusal(folder: Path) -> str:
    """Give the one sentence with which an encoder is refused."""
    with pytest.raises(IndexUnusable) as caught:
        encoder.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("field", "name"), [("onnx_sha256", "model.onnx"), ("tokenizer_sha256", "tokenizer.json")])
def test_file_of_another_checksum(copy: Path, field: str, name: str) -> None:
    """A model or tokenizer that opens but is not the one of the card is refused by its checksum, and named."""
    card = json.loads((copy / "encoder.json").read_text(encoding="utf-8"))
    assert card["id"] == encoder.load(copy).id
    write_card(copy, {**card, field: "0" * 64})
    assert refusal(copy) == f"{copy / name} differs from its checksum; run `comity index build`"


def test_altered_tokenizer(copy: Path) -> None:
    """A sound tokenizer that splits text otherwise is refused, for its vectors would not be the index's."""
    file = copy / "tokenizer.json"
    altered = json.loads(file.read_text(encoding="utf-8"))
    altered["normalizer"]["lowercase"] = not altered["normalizer"]["lowercase"]
    file.unlink()
    file.write_text(json.dumps(altered), encoding="utf-8")
    assert Tokenizer.from_file(str(file)).get_vocab_size() > 0
    assert refusal(copy) == f"{file} differs from its checksum; run `comity index build`"


def test_another_precision(copy: Path) -> None:
    """An encoder in another precision than the one asked for is refused, both named; unasked its own is taken."""
    card = json.loads((copy / "encoder.json").read_text(encoding="utf-8"))
    assert encoder.load(copy).card.precision == "int8"
    write_card(copy, {**card, "precision": "float32", "id": card["id"].removesuffix("-int8")})
    with pytest.raises(IndexUnusable) as caught:
        encoder.load(copy, "int8")
    assert str(caught.value) == f"the encoder in {copy} is float32, not int8; run `comity index build`"
    assert encoder.load(copy).card.precision == encoder.load(copy, "float32").card.precision == "float32"


@pytest.mark.parametrize(
    "changed",
    [
        {"query_prompt": "query: "},
        {"passage_prompt": "passage: "},
        {"precision": "float32"},
        {"weights_sha256": "0" * 64},
        {"id": "comity-minilm"},
    ],
)
def test_card_of_another_id(copy: Path, changed: dict[str, str]) -> None:
    """A card whose prompts, precision or weights are not those of its id is refused: its vectors would be others."""
    card = json.loads((copy / "encoder.json").read_text(encoding="utf-8")) | changed
    write_card(copy, card)
    expected = f"{copy / 'encoder.json'} names other weights, prompts or precision than its id {card['id']}"
    assert refusal(copy) == f"{expected}; run `comity index build`"


def test_card_without_prompts(copy: Path) -> None:
    """A card from before there were prompts has none, and queries are encoded like passages."""
    card = json.loads((copy / "encoder.json").read_text(encoding="utf-8"))
    write_card(copy, {name: value for name, value in card.items() if not name.endswith("_prompt")})
    found = encoder.load(copy)
    assert (found.card.query_prompt, found.card.passage_prompt) == ("", "")
    np.testing.assert_array_equal(found.encode(TEXTS[:2]), found.encode_queries(TEXTS[:2]))


def test_prompts(copy: Path, onnx: OnnxEncoder) -> None:
    """A query has the query prompt before it, a passage the passage prompt, and nothing between prompt and text."""
    card: EncoderCard = replace(onnx.card, query_prompt="question: ", passage_prompt="text:")
    end = mark(card.weights_sha256, card.precision, card.query_prompt, card.passage_prompt)
    write_card(copy, {**asdict(card), "id": f"with-prompts-{end}"})
    found = encoder.load(copy)
    queries, passages = [f"question: {text}" for text in TEXTS], [f"text:{text}" for text in TEXTS]
    np.testing.assert_array_equal(found.encode_queries(TEXTS), onnx.encode(queries))
    np.testing.assert_array_equal(found.encode(TEXTS), onnx.encode(passages))


def test_marks() -> None:
    """Encoders of other weights, prompts or precision have other marks; without prompts nothing is said of them."""
    weights = "0123456789"
    assert mark(weights, "float32", "", "") == "01234567"
    assert mark(weights, "int8", "", "") == "01234567-int8"
    prompts = [("q", ""), ("", "q"), ("q", "p"), ("qp", ""), ("p", "q")]
    made = [mark(weights, "int8", *pair) for pair in prompts]
    assert len({*made}) == len(prompts)
    assert all(each.startswith("01234567-") and each.endswith("-int8") and len(each) == 22 for each in made)


@pytest.mark.parametrize("field", ["id", "precision", "onnx_sha256", "tokenizer_sha256"])
def test_card_lacks_a_field(copy: Path, field: str) -> None:
    """A card without one of its fields, such as one of an older export, is refused with what to do."""
    card = json.loads((copy / "encoder.json").read_text(encoding="utf-8"))
    write_card(copy, {name: value for name, value in card.items() if name != field})
    assert refusal(copy) == f"the encoder in {copy} cannot be opened; run `comity index build`"


def test_no_folder(tmp_path: Path) -> None:
    """A folder that is not there is an unusable encoder."""
    with pytest.raises(IndexUnusable, match="cannot be opened"):
        encoder.load(tmp_path / "nowhere")
