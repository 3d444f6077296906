"""A network as a folder of components: `encoders/<sensor>`, `trunk`, `decoders/<head>`.

Ours are weights folders (safetensors, config, card) of those names; the published ones are files of those names
ending in `.pth`. Both may stand in one folder. Loading takes whole components, strictly: what is missing is
refused by name and never drawn at random; `extended` adds fresh parts on request.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from sinew_policies.common import checkpoint
from sinew_policies.common.errors import CheckpointError, ConfigError
from sinew_policies.t3.config import EncoderConfig, HeadConfig, T3Config, TrunkConfig
from sinew_policies.t3.network import T3
from sinew_policies.t3.positions import resize_positions
from sinew_policies.t3.shapes import encoder_of, head_of, head_width, positions_of, trunk_of

ENCODERS, TRUNK, DECODERS = "encoders", "trunk", "decoders"
PUBLISHED_SUFFIX = ".pth"

State = dict[str, Tensor]
C = TypeVar("C")


@dataclass(frozen=True)
class Contents:
    """What a folder holds."""

    sensors: tuple[str, ...]
    heads: tuple[str, ...]
    has_trunk: bool


@dataclass(frozen=True)
class LoadOptions:
    """What weight files do not say. `n_heads`: attention heads, by default one per 64 channels."""

    n_heads: int | None = None
    image_px: int | None = None  # position tables are resized to it; none: as stored
    masking: float | None = None  # for reconstruction; none: plain encoders
    heads: Mapping[str, HeadConfig] = field(default_factory=dict)  # of published files with names of their own


def contents(folder: Path | str) -> Contents:
    """Raises CheckpointError when the folder does not exist."""
    root = Path(folder)
    if not root.is_dir():
        raise CheckpointError(
            f"component folder {root} does not exist; expected a folder with {ENCODERS}/, {TRUNK} and {DECODERS}/"
        )
    return Contents(_names(root / ENCODERS), _names(root / DECODERS), TRUNK in _names(root))


def load(
    folder: Path | str,
    sensors: Sequence[str] | None = None,
    heads: Sequence[str] | None = None,
    options: LoadOptions | None = None,
) -> T3:
    """The network of the named sensors and heads; None means all there are (reconstruction only with masking).

    Raises CheckpointError for components that are missing, damaged, or of different widths or depths, and
    ConfigError for options that contradict them.
    """
    root, o = Path(folder), options or LoadOptions()
    there = contents(root)
    sensors = there.sensors if sensors is None else tuple(sensors)
    wanted = there.heads if heads is None else tuple(heads)
    _refuse_missing(root, there, sensors, wanted)
    encoders = {s: _read_encoder(root / ENCODERS, s, o) for s in sensors}
    trunk_config, trunk_state = _read_trunk(root, o)
    decoders = {h: _read_head(root / DECODERS, h, o) for h in wanted}
    if heads is None and o.masking is None:
        decoders = {h: part for h, part in decoders.items() if not part[0].reconstructs}
    widths = {f"{ENCODERS}/{s}": c.width for s, (c, _) in encoders.items()} | {TRUNK: trunk_config.width}
    head_widths = {f"{DECODERS}/{h}": head_width(c, t, f"{root / DECODERS / h}") for h, (c, t) in decoders.items()}
    widths |= {part: width for part, width in head_widths.items() if width is not None}
    _refuse_different(root, "width", widths)
    _refuse_different(root, "depth", {f"{ENCODERS}/{s}": c.depth for s, (c, _) in encoders.items()})
    shapes = {c for c, _ in encoders.values()}
    if len(shapes) > 1:
        raise CheckpointError(f"encoders of {root} differ: {shapes}; load them into separate networks")
    config = T3Config(shapes.pop(), trunk_config, sensors, {h: c for h, (c, _) in decoders.items()})
    with torch.device("meta"):  # every tensor comes from the files
        network = T3(config)
    state = {f"{ENCODERS}.{s}.{k}": v for s, (_, t) in encoders.items() for k, v in t.items()}
    state |= {f"{TRUNK}.{k}": v for k, v in trunk_state.items()}
    state |= {f"{DECODERS}.{h}.{k}": v for h, (_, t) in decoders.items() for k, v in t.items()}
    checkpoint.check_fits(state, network.state_dict(), root)
    network.load_state_dict(state, assign=True)
    return network.eval()


def save(folder: Path | str, network: T3, card: str) -> None:
    """Writes every component; an earlier network in the folder is replaced as a whole, or kept as a whole.

    `card` is Markdown: training data, command, seed, scores. Raises ConfigError where the folder holds anything
    else, CheckpointError for weights that are not finite.
    """
    root = Path(folder).resolve()  # '.' has no name to put others beside
    strangers = (
        sorted(p.name for p in root.iterdir() if p.name not in (ENCODERS, TRUNK, DECODERS)) if root.exists() else []
    )
    if strangers:
        raise ConfigError(
            f"{root} holds {', '.join(strangers)}, so no network is written over it; name a folder of its own"
        )
    config = network.config
    partial, former = (root.with_name(f".{root.name}.{word}") for word in ("partial", "former"))
    if former.exists() and not root.exists():
        former.replace(root)  # killed between the two renames below
    for left in (partial, former):
        shutil.rmtree(left, ignore_errors=True)
    try:
        for sensor in config.sensors:
            state = network.encoders[sensor].state_dict()
            checkpoint.save(partial / ENCODERS / sensor, state, config.encoder, f"# Encoder {sensor}\n\n{card}")
        checkpoint.save(partial / TRUNK, network.trunk.state_dict(), config.trunk, f"# Trunk\n\n{card}")
        for name, head in config.heads.items():
            state = network.decoders[name].state_dict()
            checkpoint.save(partial / DECODERS / name, state, head, f"# Head {name}\n\n{card}")
        if root.exists():
            root.replace(former)
        partial.replace(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(former, ignore_errors=True)


def extended(
    network: T3,
    *,
    sensors: Mapping[str, str | None] | None = None,
    heads: Mapping[str, HeadConfig] | None = None,
    seed: int = 0,
) -> T3:
    """A copy with new parts: each sensor starts from the named sensor's encoder (None: random), heads are random.

    Raises ConfigError for a name that is taken, or a start that is not there.
    """
    config, new_sensors, new_heads = network.config, dict(sensors or {}), dict(heads or {})
    taken = sorted((set(config.sensors) & set(new_sensors)) | (set(config.heads) & set(new_heads)))
    if taken:
        raise ConfigError(f"the network already has {', '.join(taken)}; choose other names")
    state = dict(network.state_dict())
    for sensor, start in new_sensors.items():
        if start is not None:
            source = network.encoder(start).state_dict()
            state |= {f"{ENCODERS}.{sensor}.{k}": v for k, v in source.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wider = T3(replace(config, sensors=(*config.sensors, *new_sensors), heads={**config.heads, **new_heads}))
    wider.load_state_dict({k: v.clone() for k, v in state.items()}, strict=False)
    return wider.train(network.training)


def _read_encoder(folder: Path, name: str, o: LoadOptions) -> tuple[EncoderConfig, State]:
    state, stored = _read(folder, name, EncoderConfig)
    where = f"{folder / name}"
    config = stored or encoder_of(state, o.n_heads, where)
    _refuse_contradiction(where, config.n_heads, o.n_heads)
    config = replace(config, masking=o.masking, image_px=o.image_px or config.image_px)
    state["pos_embed"] = resize_positions(positions_of(state, config.width, where), config.grid)
    return config, state


def _read_trunk(root: Path, o: LoadOptions) -> tuple[TrunkConfig, State]:
    state, stored = _read(root, TRUNK, TrunkConfig)
    config = stored or trunk_of(state, o.n_heads, f"{root / TRUNK}")
    _refuse_contradiction(f"{root / TRUNK}", config.n_heads, o.n_heads)
    return config, state


def _read_head(folder: Path, name: str, o: LoadOptions) -> tuple[HeadConfig, State]:
    state, stored = _read(folder, name, HeadConfig)
    return stored or head_of(name, state, o.heads.get(name), f"{folder / name}"), state


def _read(folder: Path, name: str, config_type: type[C]) -> tuple[State, C | None]:
    """Tensors, and the configuration where the component is one of ours."""
    ours, published = folder / name, folder / f"{name}{PUBLISHED_SUFFIX}"
    if ours.is_dir() and published.is_file():
        raise CheckpointError(
            f"{ours} and {published.name} both stand in {folder}; remove the one that is not meant"
        )
    if ours.is_dir():
        return _float32(checkpoint.load_state(ours), ours), checkpoint.load_config(ours, config_type)
    return _float32(checkpoint.load_published(published), published), None


def _float32(state: State, file: Path) -> State:
    """Weights that were stored in another precision as float32; BatchNorm's counters as they are."""
    found: State = {}
    for key, tensor in state.items():
        if tensor.dtype == torch.int64 and key.endswith("num_batches_tracked"):
            found[key] = tensor
            continue
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"tensor {key!r} in {file} is {tensor.dtype}; expected floating point: use the weights that were "
                "trained, not a quantised or converted copy"
            )
        found[key] = tensor.float()
        if not bool(torch.isfinite(found[key]).all()):
            raise CheckpointError(f"tensor {key!r} in {file} holds NaN or infinite values; use other weights")
    return found


def _names(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    found = {p.name for p in folder.iterdir() if p.is_dir() and (p / checkpoint.CONFIG).is_file()}
    found |= {p.stem for p in folder.iterdir() if p.is_file() and p.suffix == PUBLISHED_SUFFIX}
    return tuple(sorted(found))


def _refuse_missing(root: Path, there: Contents, sensors: Sequence[str], heads: Sequence[str]) -> None:
    missing = [f"{ENCODERS}/{s}" for s in sensors if s not in there.sensors]
    missing += [] if there.has_trunk else [TRUNK]
    missing += [f"{DECODERS}/{h}" for h in heads if h not in there.heads]
    if missing or not sensors:
        raise CheckpointError(
            f"{root} lacks {', '.join(missing) or 'any encoder'}; it holds encoders "
            f"{', '.join(there.sensors) or '(none)'}, {'a trunk' if there.has_trunk else 'no trunk'}, heads "
            f"{', '.join(there.heads) or '(none)'}. Add the missing components, or ask for those that are there"
        )


def _refuse_different(root: Path, what: str, values: Mapping[str, int]) -> None:
    if len(set(values.values())) > 1:
        listed = ", ".join(f"{part} {value}" for part, value in values.items())
        raise CheckpointError(
            f"components of {root} differ in {what}: {listed}; take all of them from one size of T3"
        )


def _refuse_contradiction(where: str, stored: int, asked: int | None) -> None:
    if asked is not None and stored != asked:
        raise ConfigError(f"n_heads is {asked}, but {where} was saved with {stored}; leave n_heads out")
