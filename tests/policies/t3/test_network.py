"""Shapes and laws of the T3 network; values are compared with recordings in tests/parity."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from policies.t3.small_networks import HEADS, config, images, network

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.t3.config import (
    PUBLISHED_HEADS,
    SIZES,
    EncoderConfig,
    HeadConfig,
    T3Config,
    TrunkConfig,
    published_head,
)
from sinew_policies.t3.network import T3, masking_noise


@pytest.mark.parametrize(
    ("size", "encoder_elements", "trunk_elements"),
    [
        ("tiny", 1520256, 4004160),
        ("small", 5694720, 15970944),
        ("medium", 22006272, 63792384),
        ("large", 76567552, 226734080),
    ],
)
def test_sizes_have_the_published_numbers_of_weights(size: str, encoder_elements: int, trunk_elements: int) -> None:
    with torch.device("meta"):
        net = T3(T3Config.of_size(size))
    assert sum(p.numel() for p in net.encoders["mini"].parameters()) == encoder_elements
    assert sum(p.numel() for p in net.trunk.parameters()) == trunk_elements


@pytest.mark.parametrize(
    ("head", "elements"),
    [("pose_estimation_6d_mini", 1452782), ("cls_touch_and_go", 91990), ("mae_recon_single", 25814272)],
)
def test_heads_have_the_published_numbers_of_weights(head: str, elements: int) -> None:
    with torch.device("meta"):
        net = T3(T3Config.of_size("tiny", heads={head: PUBLISHED_HEADS[head]}, masking=0.4))
    assert sum(t.numel() for t in net.decoders[head].state_dict().values()) == elements


@torch.no_grad()
@pytest.mark.parametrize("masking", [None, 0.4])
def test_weights_start_as_published(masking: float | None) -> None:
    """Xavier-uniform linear layers and patches, zero biases, unit norms, tokens from N(0, 0.02²)."""
    torch.manual_seed(0)
    heads = {"mae_recon_single": HeadConfig("mae", recon_width=512, recon_depth=1)} if masking else {}
    net = T3(T3Config(EncoderConfig(384, 1, 6, masking=masking), TrunkConfig(384, 1, 6), ("mini",), heads))
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)]
    assert len(layers) == (9 if masking is None else 15)
    for layer in layers:
        n_out, n_in = layer.weight.flatten(1).shape
        bound = (6.0 / (n_in + n_out)) ** 0.5
        assert 0.999 * bound < float(layer.weight.abs().max()) <= bound * (1.0 + 1e-6)
        assert float(layer.weight.std()) == pytest.approx(bound / 3.0**0.5, rel=0.02)
        assert not layer.bias.any()
    norms = [m for m in net.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert all(bool((m.weight == 1.0).all()) and not m.bias.any() for m in norms)
    tokens = {k: p for k, p in net.named_parameters() if k.endswith(("cls_token", "mask_token"))}
    assert len(tokens) == (1 if masking is None else 2)
    for token in tokens.values():
        assert float(token.std()) == pytest.approx(0.02, rel=0.15)  # four standard errors
        assert abs(float(token.mean())) < 4.0 * 0.02 / token.numel() ** 0.5


def test_every_head_gives_its_number_of_outputs() -> None:
    net, x = network(), images(2)
    with torch.no_grad():
        for name, head in HEADS.items():
            out = net("mini", name, x, x.flip(0) if head.two_towers else None)
            assert out.shape == (2, head.n_out or net.config.trunk.width)


def test_a_pair_can_be_computed_in_two_halves() -> None:
    net, x = network(), images(3)
    with torch.no_grad():
        for head in ("pose_estimation_6d_mini", "slip"):
            a, b = net.tokens("mini", x), net.tokens("mini", x.roll(1, 0))
            decoder = net.head(head)
            joined = decoder.join(decoder.tower(a), decoder.tower(b))
            torch.testing.assert_close(joined, net("mini", head, x, x.roll(1, 0)))


def test_batch_order_does_not_matter() -> None:
    net, x = network(), images(3)
    with torch.no_grad():
        torch.testing.assert_close(net.tokens("mini", x).flip(0), net.tokens("mini", x.flip(0)))


def test_trunk_serves_all_sensors_and_encoders_are_their_own() -> None:
    net, x = network(), images(1)
    net.zero_grad()
    net("digit", "cls_cnc", x).sum().backward()
    with_gradient = {k.split(".")[1] for k, p in net.named_parameters() if p.grad is not None and k[0] == "e"}
    assert with_gradient == {"digit"}
    assert all(p.grad is not None for p in net.trunk.parameters())


@pytest.mark.parametrize("kind", ["mae", "cross_mae"])
def test_reconstruction_drops_the_stated_share(kind: str) -> None:
    heads = {"mae_recon_single": HeadConfig(kind, recon_width=32, recon_depth=1, recon_heads=2)}
    net = network(config(heads=heads, masking=0.4))
    noise = masking_noise(2, 196, torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = net.reconstruct("mini", "mae_recon_single", images(2), noise)
    assert out.mask.sum(1).tolist() == [79.0, 79.0]  # 117 of 196 are kept
    assert torch.equal(noise > noise.sort(1).values[:, 116:117], out.mask.bool())
    assert out.patches.shape == (2, 196 if kind == "mae" else 79, 768)


def test_prediction_depends_on_kept_patches_only() -> None:
    heads = {"mae_recon_single": HeadConfig("cross_mae", recon_width=32, recon_depth=1, recon_heads=2)}
    net, x = network(config(heads=heads, masking=0.5)), images(1)
    noise = masking_noise(1, 196, torch.Generator().manual_seed(0))
    with torch.no_grad():
        first = net.reconstruct("mini", "mae_recon_single", x, noise)
        pixels = first.mask.reshape(1, 1, 14, 14).repeat_interleave(16, 2).repeat_interleave(16, 3)
        torch.testing.assert_close(
            net.reconstruct("mini", "mae_recon_single", x + 9.0 * pixels, noise).patches, first.patches
        )
        changed = net.reconstruct("mini", "mae_recon_single", x + 9.0 * (1 - pixels), noise).patches
    assert not torch.allclose(changed, first.patches)


def test_fixed_positions_are_not_trained() -> None:
    heads = {"mae_recon_single": HeadConfig("mae", recon_width=32, recon_depth=1, recon_heads=2)}
    net = network(config(heads=heads, masking=0.4))
    trained = {k for k, p in net.named_parameters() if p.requires_grad}
    assert not {k for k in trained if k.endswith(("pos_embed", "decoder_pos_embed"))}
    plain = network()
    assert plain.encoders["mini"].pos_embed.requires_grad


@pytest.mark.parametrize("shape", [(1, 3, 256, 256), (1, 1, 224, 224), (3, 224, 224)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"expected \(batch, 3, 224, 224\)"):
        network().tokens("mini", torch.zeros(shape))


def test_unknown_names_are_refused_with_the_valid_ones() -> None:
    net, x = network(), images(1)
    with pytest.raises(ConfigError, match="no encoder for sensor 'mimi'; did you mean 'mini'"):
        net.tokens("mimi", x)
    with pytest.raises(ConfigError, match="no head 'cls_cmc'; did you mean 'cls_cnc'"):
        net("mini", "cls_cmc", x)
    with pytest.raises(ConfigError, match="takes two images"):
        net("mini", "slip", x)
    with pytest.raises(ConfigError, match="takes one image"):
        net("mini", "cls_cnc", x, x)
    with pytest.raises(ConfigError, match="cannot reconstruct"):
        net.reconstruct("mini", "cls_cnc", x, torch.rand(1, 196))


def test_configurations_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="encoder width 64 and trunk width 32 differ"):
        T3Config(EncoderConfig(64, 1, 2), TrunkConfig(32, 1, 2))
    with pytest.raises(ConfigError, match="masking is none"):
        T3Config(heads={"mae_recon_single": HeadConfig("mae")})
    with pytest.raises(ConfigError, match="did you mean 'medium'"):
        T3Config.of_size("medum")
    with pytest.raises(ConfigError, match="unknown kind of head 'mpl'; did you mean 'mlp'"):
        HeadConfig("mpl", 3)
    with pytest.raises(ConfigError, match="n_out 0"):
        HeadConfig("pose")
    with pytest.raises(ConfigError, match=r"hidden \(256,\); expected widths from 1 to 65536, two of them"):
        HeadConfig("pose", 9, hidden=(256,))
    with pytest.raises(ConfigError, match="not one of the published"):
        published_head("cls_cncc")
    with pytest.raises(ConfigError, match="width 192 with 5 attention heads"):
        replace(EncoderConfig(), n_heads=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_px": 0}, "patch_px 0; expected 1 <= patch_px <= image_px <= 4096"),
        ({"patch_px": -16}, "patch_px -16; expected 1 <="),
        ({"image_px": 0}, "image_px is 0 "),
        ({"image_px": 160_000}, "image_px is 160000 .* <= 4096"),
        ({"image_px": 2048, "patch_px": 1}, "2048 patches along a side; expected at most 256"),
        ({"image_px": 225}, "225 is not a multiple of patch_px 16"),
        ({"mlp_ratio": float("nan")}, "encoder mlp_ratio nan; expected a number from .* to 64"),
        ({"mlp_ratio": float("inf")}, "mlp_ratio inf"),
        ({"mlp_ratio": -1.0}, "mlp_ratio -1"),
        ({"mlp_ratio": 0.0}, "mlp_ratio 0"),
        ({"depth": 10_000_000}, "encoder depth 10000000; expected 0 to 256"),
        ({"depth": -1}, "depth -1"),
        ({"width": 3 * 2**60}, "encoder width .* at most 65536"),
    ],
)
def test_encoders_out_of_range_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(EncoderConfig(), **change)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrunkConfig(depth=10_000_000), "trunk depth 10000000; expected 0 to 256"),
        (lambda: TrunkConfig(mlp_ratio=float("nan")), "trunk mlp_ratio nan"),
        (lambda: HeadConfig("mae", recon_depth=10_000_000), "reconstruction depth 10000000"),
        (lambda: HeadConfig("mlp", 3, hidden=(-1,)), r"hidden \(-1,\); expected widths from 1 to 65536"),
        (lambda: HeadConfig("mlp", 3, hidden=(2**60,)), "expected widths from 1 to 65536"),
        (lambda: HeadConfig("mlp", 2**60), "n_out 1152921504606846976; expected 1 to 65536"),
        (lambda: HeadConfig("mlp", 3, dropout=float("nan")), "dropout is nan"),
    ],
)
def test_other_parts_out_of_range_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_sizes_are_four() -> None:
    assert set(SIZES) == {"tiny", "small", "medium", "large"}
