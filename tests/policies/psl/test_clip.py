"""CLIP against the package that users take it from, and files that do not fit."""

import gzip
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from sinew_policies.common.errors import CheckpointError, DataError, MissingExtra
from sinew_policies.common.seeds import stream
from sinew_policies.psl.clip import tokenizer as tokenizer_module
from sinew_policies.psl.clip.folding import folded
from sinew_policies.psl.clip.loader import load_clip
from sinew_policies.psl.clip.network import Clip
from sinew_policies.psl.clip.tokenizer import Tokenizer, installed_vocabulary
from sinew_policies.psl.config import ClipConfig, PSLConfig

TINY = PSLConfig.tiny().clip


def lively(clip: Clip, seed: int = 0) -> Clip:
    """Statistics and biases away from 0 and 1, so that leaving one out shows."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in clip.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.copy_(
                    0.5 + torch.rand(tensor.shape, generator=g)
                    if name.endswith(("var", "weight"))
                    else 0.3 * torch.randn(tensor.shape, generator=g)
                )
    return clip.eval()


@pytest.fixture(scope="module")
def clip() -> Clip:
    torch.manual_seed(0)
    return lively(Clip(TINY))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer()


@pytest.fixture(scope="module")
def reference() -> Iterator[ModuleType]:
    """open_clip's modules without its package's start-up, which wants torchvision."""
    saved = {k: v for k, v in sys.modules.items() if k.split(".")[0] in ("open_clip", "torchvision")}
    for name in saved:
        del sys.modules[name]
    package = ModuleType("open_clip")
    package.__path__ = [str(installed_vocabulary().parent)]
    vision, ops, misc = (ModuleType(n) for n in ("torchvision", "torchvision.ops", "torchvision.ops.misc"))
    misc.FrozenBatchNorm2d = torch.nn.BatchNorm2d  # type: ignore[attr-defined]
    sys.modules |= {m.__name__: m for m in (package, vision, ops, misc)}
    for name in ("modified_resnet", "transformer", "tokenizer"):
        import_module(f"open_clip.{name}")
    yield package
    for name in [k for k in sys.modules if k.split(".")[0] in ("open_clip", "torchvision")]:
        del sys.modules[name]
    sys.modules |= saved


@torch.no_grad()
def test_the_visual_tower_is_open_clips(reference: ModuleType) -> None:
    config = ClipConfig(image_size=64, blocks=(2, 1, 2, 1), stem_width=8, visual_heads=4, code=16)
    ours = lively(Clip(config)).visual
    theirs = reference.modified_resnet.ModifiedResNet([2, 1, 2, 1], 16, 4, image_size=64, width=8).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(folded(ours)(x), theirs(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_text_tower_is_open_clips_with_quick_gelu(reference: ModuleType, clip: Clip) -> None:
    module = reference.transformer
    theirs = module.TextTransformer(
        77, TINY.vocabulary, TINY.text_width, TINY.text_heads, TINY.text_layers,
        output_dim=TINY.code, act_layer=module.QuickGELU,
    ).eval()  # fmt: skip
    state = {k: v for k, v in clip.state_dict().items() if not k.startswith("visual.") and k != "logit_scale"}
    theirs.load_state_dict(state, strict=True)
    tokens = torch.from_numpy(stream(0, "tokens").integers(1, 49000, (3, 77)))
    for row, length in enumerate((5, 40, 77)):
        tokens[row, length - 1] = 49407
        tokens[row, length:] = 0
    torch.testing.assert_close(clip.encode_text(tokens), theirs(tokens), atol=1e-5, rtol=1e-5)
    changed = tokens.clone()
    changed[0, 10:] = 7  # after the end nothing counts
    torch.testing.assert_close(clip.encode_text(changed)[0], clip.encode_text(tokens)[0])


TEXTS = (
    "a photo of a cat",
    "I don't know; we'll see, they've said it's 12:45!",
    "<b>Sofa</b> &amp; table &lt;3   wide\tspaces\n new lines",
    "café naïve Ångström 你好 мир привет नमस्ते ①②³ ½",
    "tv_monitor (65-inch) ... --- !!!",
    "“curly” ‘quotes’ – dash… ﬁne",
    "🙂🙃 emoji",
    "<|startoftext|> marks <|endoftext|>",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "aaaaaaaaaaaa abababab",
)


def test_published_tokens(tokenizer: Tokenizer) -> None:
    row = tokenizer.encode("a photo of a cat")[0]
    assert row[:7].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert not row[7:].any()
    assert tokenizer.encode("a diagram")[0, :4].tolist() == [49406, 320, 22697, 49407]


def test_tokens_are_open_clips(reference: ModuleType, tokenizer: Tokenizer) -> None:
    theirs = reference_tokenizer(reference)
    for text in TEXTS:
        assert tokenizer.pieces(text) == theirs.encode(text), text
    assert tokenizer.encode(TEXTS[:2]).tolist() == theirs(list(TEXTS[:2])).tolist()
    long = "chair " * 100
    assert tokenizer.encode(long, truncate=True).tolist() == theirs(long).tolist()


@given(
    text=st.text(st.characters(max_codepoint=0x24F), max_size=40)
    | st.text("a's t'll 're.,!-_12\n&lt;", max_size=40)
)
@example(text=":Ö\x8b")
@settings(max_examples=150, deadline=None)
def test_any_latin_text_gives_open_clips_tokens(reference: ModuleType, tokenizer: Tokenizer, text: str) -> None:
    # Repair can make characters that Python's Unicode tables do not know yet, and open_clip's already do.
    assume(all(unicodedata.category(c) != "Cn" for c in import_module("ftfy").fix_text(text)))
    assert tokenizer.pieces(text) == reference_tokenizer(reference).encode(text)


@cache
def reference_tokenizer(reference: ModuleType) -> Any:
    return reference.tokenizer.SimpleTokenizer()


def test_texts_that_say_nothing_or_too_much_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="has 1000000 characters; at most 5000 fit"):
        tokenizer.encode("a" * 1_000_000, truncate=True)  # merging its letters would take days
    with pytest.raises(DataError, match="describe the goal in words"):
        tokenizer.encode(" \n")
    with pytest.raises(DataError, match="has 100 tokens, 75 fit"):
        tokenizer.encode("chair " * 100)


def test_a_missing_or_damaged_vocabulary_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tmp_path / "vocabulary.txt.gz"
    bad.write_bytes(gzip.compress(b"version\na b\n"))
    with pytest.raises(CheckpointError, match="has 1 merges"):
        Tokenizer(bad)
    bad.write_bytes(b"text")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Tokenizer(bad)
    monkeypatch.setattr(tokenizer_module.PathFinder, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"pip install 'sinew-robotics\[clip\]'"):
        Tokenizer()


class Both(Clip):
    def forward(self, image: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.encode_image(image), self.encode_text(text)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@torch.no_grad()
def test_openais_program_and_open_clips_state_dicts_give_the_same_network(tmp_path: Path, clip: Clip) -> None:
    image, text = torch.rand(1, 3, 32, 32) * 255, torch.zeros(1, 77, dtype=torch.int64)
    text[0, 3] = 49407
    program = Both(TINY).eval()
    program.load_state_dict(clip.state_dict())
    program.register_buffer("input_resolution", torch.tensor(32))
    program.register_buffer("vocab_size", torch.tensor(49408))
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.trace(program, (image, text), check_trace=False).save(str(tmp_path / "RN50.pt"))
    state = clip.state_dict()
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "training.pt")
    torch.save({k: v.half() for k, v in state.items()}, tmp_path / "half.pt")
    save_file({k: v for k, v in state.items() if "num_batches" not in k}, tmp_path / "open_clip.safetensors")
    for name in ("RN50.pt", "plain.pt", "training.pt", "half.pt", "open_clip.safetensors"):
        found = load_clip(tmp_path / name, TINY)
        tolerance = {"atol": 5e-3, "rtol": 5e-2} if name == "half.pt" else {"atol": 0, "rtol": 0}
        torch.testing.assert_close(found.encode_image(image), clip.encode_image(image), **tolerance)
        torch.testing.assert_close(found.encode_text(text), clip.encode_text(text), **tolerance)
        assert not found.training
        assert next(found.parameters()).dtype == torch.float32


_RESNET_SIGNS = {
    "visual.conv1.weight": torch.zeros(4, 3, 3, 3),
    "visual.attnpool.positional_embedding": torch.zeros(2, 8),
    "visual.attnpool.c_proj.weight": torch.zeros(4, 8),
}


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (Clip(ClipConfig(32, (1, 2, 1, 1), 4, 4, 16, text_width=16, text_heads=2, text_layers=1)).state_dict(),
         "a CLIP ResNet (blocks 1-2-1-1, width 4, 32 px, codes of 16)"),
        ({"visual.conv1.weight": torch.zeros(768, 3, 32, 32), "visual.class_embedding": torch.zeros(768)},
         "a CLIP ViT-B/32 of width 768"),
        ({"fc.weight": torch.zeros(2, 2)}, "no CLIP network with OpenAI's names (1 tensors, such as fc.weight)"),
        *(({**_RESNET_SIGNS, name: torch.tensor(1.0)}, "no CLIP network with OpenAI's names (3 tensors")
          for name in _RESNET_SIGNS),
    ],
)  # fmt: skip
def test_another_architecture_is_named(tmp_path: Path, state: dict, found: str) -> None:
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(CheckpointError) as fault:
        load_clip(tmp_path / "other.pt")
    assert found in str(fault.value)
    assert "CLIP RN50 (blocks 3-4-6-3, width 64, 224 px, codes of 1024)" in str(fault.value)


def test_files_that_are_missing_damaged_or_incomplete(tmp_path: Path, clip: Clip) -> None:
    with pytest.raises(CheckpointError, match="does not exist; give the path of OpenAI's"):
        load_clip(tmp_path / "none.pt")
    for name in ("bad.pt", "bad.safetensors"):
        (tmp_path / name).write_bytes(b"\x80\x02nothing")
        with pytest.raises(CheckpointError, match="download it again"):
            load_clip(tmp_path / name)
    state = dict(clip.state_dict())
    state["ln_final.weight"] = torch.full_like(state["ln_final.weight"], torch.nan)
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(CheckpointError, match=r"'ln_final.weight' in .*NaN"):
        load_clip(tmp_path / "nan.pt", TINY)
    del state["ln_final.weight"]
    torch.save(state, tmp_path / "short.pt")
    with pytest.raises(CheckpointError, match=r"1 missing: ln_final\.weight"):
        load_clip(tmp_path / "short.pt", TINY)


def test_tokens_of_another_length_are_refused(clip: Clip) -> None:
    with pytest.raises(DataError, match=r"expected \(B, 77\)"):
        clip.encode_text(torch.zeros(1, 5, dtype=torch.int64))
