"""robomimic's behaviour cloning on one of our files, in a process of its own.

Its own process, because a stand-in for torchvision must not be seen by anybody else, and because robomimic keeps
global state. It runs as `python -m sinew_sim.robomimic.cloning REQUEST DATA`, a JSON file of a Request and the
episodes; losses go to its standard output, one JSON line an epoch. DATA is a copy that sinew wrote, for robomimic
checks nothing and libhdf5 dies of damaged files.
"""

import json
import subprocess
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sinew_policies.common import episode_hdf5
from sinew_policies.common.errors import ConfigError, DataError, MissingExtra

Progress = Callable[[int, float], None]  # epoch, loss


@dataclass(frozen=True)
class Request:
    data: str
    out: str
    epochs: int = 20
    steps_per_epoch: int = 100
    batch: int = 100
    hidden: tuple[int, ...] = (256, 256)
    seed: int = 0
    mask: str | None = None

    def __post_init__(self) -> None:
        positive = min(self.epochs, self.steps_per_epoch, self.batch, *self.hidden, 1) >= 1
        if not positive or not 0 <= self.seed < 2**32:
            raise ConfigError(
                f"epochs {self.epochs}, steps {self.steps_per_epoch}, batch {self.batch}, hidden {self.hidden}, "
                f"seed {self.seed}: expected at least 1 each, seed 0 to 2^32 - 1"
            )

    @property
    def checkpoint(self) -> Path:
        """robomimic's own format, which its policy_from_checkpoint reads."""
        return Path(self.out) / "model.pth"


def train(request: Request, progress: Progress = lambda epoch, loss: None) -> list[float]:
    """Losses of the epochs; leaves `request.checkpoint` and train.log in the folder.

    Raises MissingExtra without robomimic, DataError for a file that is no good or a training that broke,
    ConfigError for a folder that holds a model already.
    """
    for package in ("robomimic", "h5py"):
        if find_spec(package) is None:
            raise MissingExtra(package, "robomimic")
    if request.checkpoint.exists():
        raise ConfigError(
            f"{request.checkpoint} exists already; robomimic cannot go on with it, name another folder"
        )
    episodes = episode_hdf5.read(Path(request.data), mask=request.mask)
    out = Path(request.out)
    out.mkdir(parents=True, exist_ok=True)
    order, log = out / "request.json", out / "train.log"
    order.write_text(json.dumps(asdict(request)))
    losses: list[float] = []
    with tempfile.TemporaryDirectory(prefix=".episodes-", dir=out) as folder, log.open("w") as errors:
        data = Path(folder) / "data.hdf5"
        episode_hdf5.write(data, episodes)
        command = [sys.executable, "-m", "sinew_sim.robomimic.cloning", str(order), str(data)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith("{"):
                    losses.append(float(json.loads(line)["loss"]))
                    progress(len(losses), losses[-1])
    if child.returncode or len(losses) != request.epochs:
        last = (log.read_text().strip().splitlines() or ["nothing was said"])[-1]
        raise DataError(f"robomimic stopped after {len(losses)} of {request.epochs} epochs: {last}; see {log}")
    return losses


def _run(request: Request, data: str) -> None:
    """In the child."""
    from sinew_sim.robomimic.torchvision_stand_in import install

    install()
    import numpy as np
    import torch
    from robomimic.algo import algo_factory
    from robomimic.utils import file_utils, obs_utils, train_utils

    torch.set_num_threads(1)
    np.random.seed(request.seed)  # noqa: NPY002  robomimic draws from the global generators
    torch.manual_seed(request.seed)
    config = _config(request, data)
    obs_utils.initialize_obs_utils_with_config(config)
    shapes = file_utils.get_shape_metadata_from_dataset(data, all_obs_keys=config.all_obs_keys)
    model = algo_factory("bc", config, shapes["all_shapes"], shapes["ac_dim"], torch.device("cpu"))
    episodes, _ = train_utils.load_data_for_training(config, obs_keys=shapes["all_obs_keys"])
    loader = torch.utils.data.DataLoader(
        episodes,
        batch_size=min(request.batch, len(episodes)),
        shuffle=True,
        drop_last=True,
        generator=torch.Generator().manual_seed(request.seed),
    )
    output, sys.stdout = sys.stdout, sys.stderr  # robomimic prints; our lines must stand alone
    for epoch in range(1, request.epochs + 1):
        found: OrderedDict[str, float] = train_utils.run_epoch(
            model, loader, epoch, num_steps=request.steps_per_epoch
        )
        model.on_epoch_end(epoch)
        print(json.dumps({"epoch": epoch, "loss": float(found["Loss"])}), file=output, flush=True)
    with config.values_unlocked():
        config.train.data = request.data
    partial = request.checkpoint.with_suffix(".partial")
    train_utils.save_model(
        model,
        config,
        env_meta=file_utils.get_env_metadata_from_dataset(data),
        shape_meta=shapes,
        ckpt_path=str(partial),
    )
    partial.replace(request.checkpoint)


def _config(request: Request, data: str) -> Any:
    from robomimic.config import config_factory

    config = config_factory("bc")
    with config.values_unlocked():
        config.train.data = data
        config.train.seed = request.seed
        config.train.cuda = False
        config.observation.modalities.obs.low_dim = [episode_hdf5.STATE_KEY]
        config.algo.actor_layer_dims = list(request.hidden)
    return config


if __name__ == "__main__":
    _content = json.loads(Path(sys.argv[1]).read_text())
    _run(Request(**{**_content, "hidden": tuple(_content["hidden"])}), sys.argv[2])
