"""Random numbers without a state: one generator for each (seed, purpose, step).

A resumed run needs only the step number to draw what the uninterrupted run would have drawn, and two
runs that differ in their prior or coupling see the same data order, times and dropped conditions.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager

import torch


def mix(seed: int, purpose: str, step: int = 0) -> int:
    """A 64-bit seed from a run's seed, a purpose and a step; unrelated for any two of them."""
    digest = hashlib.blake2b(f"{seed}:{purpose}:{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class Randomness:
    """Generators of one run.

    Args:
        seed: the run's seed.
        device: where the numbers are drawn.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.device = torch.device(device)

    def generator(self, purpose: str, step: int = 0) -> torch.Generator:
        """A fresh generator, the same one whenever it is asked for."""
        return torch.Generator(self.device).manual_seed(mix(self.seed, purpose, step))

    def model_seeds_stay_inside(self) -> AbstractContextManager[None]:
        """Context that gives torch's global generators back as they were; for :meth:`seed_model`."""
        return torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])

    def seed_model(self, step: int, part: int = 0) -> None:
        """Seed torch's global generators, which the dropout of a model's own layers draws from.

        Each micro-batch, ``part``, of a step has its own seed.
        Of the CPU and of the run's device alone: ``torch.manual_seed`` goes through every backend there is,
        which takes a hundred times as long.
        """
        seed = mix(self.seed, "model" if part == 0 else f"model, micro-batch {part}", step)
        torch.random.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)
