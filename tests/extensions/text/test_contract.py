"""One contract over every registered text encoder that can be had here, at tiny size."""

from __future__ import annotations

import inspect
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.errors import OptionError
from flowprior.models import Encoder, TextEncoder
from flowprior.registry.registry import spec_of
from tests.extensions.conftest import refused
from tests.text_models import CAPTIONS

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


@pytest.mark.parametrize("name", Encoder.available())
def test_an_encoder_describes_itself_and_its_options(name: str) -> None:
    record = Encoder.record(name)
    assert 20 <= len(record.description) <= 110
    assert record.description.endswith(".")
    documented = inspect.getdoc(record.factory) or ""
    for option in record.options:
        assert re.search(rf"^\s*{option}: \S", documented, re.MULTILINE), f"{option} is not documented"
    with pytest.raises(OptionError, match=f"'{name}' has no option 'nonsense'"):
        Encoder.create(name, nonsense=1)


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
