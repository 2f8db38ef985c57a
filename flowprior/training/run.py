"""A run's directory: its files, and who may write into it."""

from __future__ import annotations

from pathlib import Path

from flowprior.errors import OptionError
from flowprior.training.config import RunConfig, differing_keys, load_config, save_config
from flowprior.training.writing import writing

MAY_CHANGE = frozenset(
    {
        "training.steps",
        "training.device",
        "training.log_every",
        "training.sample_every",
        "training.sample_nfe",
        "training.checkpoint_every",
        "training.keep_checkpoints",
    }
)
"""Keys that a resumed run may change without training something else; ``steps`` may only grow."""


class RunDirectory:
    """Names of the files of one run.

    Args:
        path: the directory RUN.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.toml"
        self.info = self.path / "info.json"
        self.metrics = self.path / "metrics.jsonl"
        self.samples = self.path / "samples"
        self.checkpoints = self.path / "checkpoints"
        self.flow = self.path / "flow"

    def check(self, config: RunConfig, resume: bool) -> None:
        """Check that a new run may start here, or that the one that stands here can go on; writes nothing.

        Raises:
            OptionError: a run stands there and ``resume`` is False, or the configuration changed.
        """
        if self.config.exists() or self.checkpoints.exists():
            if not resume:
                raise OptionError(
                    f"train: {self.path} already holds a run; pass resume=True (--resume) to go on with it, "
                    "or choose another directory"
                )
            if self.config.exists():
                self._compare(load_config(self.config), config)
        elif self.path.exists() and not self.path.is_dir():
            raise OptionError(f"train: {self.path} is a file; choose a directory")

    def create(self, config: RunConfig) -> None:
        """Make the directory and write config.toml."""
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            save_config(config, self.config)

    def _compare(self, old: RunConfig, new: RunConfig) -> None:
        before, after = old.flat(), new.flat()
        changed = [key for key in differing_keys(old, new) if key not in MAY_CHANGE]
        if new.training.steps < old.training.steps:
            changed.append("training.steps")
        if changed:
            shown = ", ".join(f"{key} {before[key]!r} -> {after[key]!r}" for key in changed)
            raise OptionError(
                f"train: {self.path} was trained with another configuration ({shown}); "
                "resume with the old values, or choose another directory"
            )
