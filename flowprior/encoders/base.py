"""Encoder: what turns captions or pictures into the numbers that priors and networks work on.

What was encoded fits only what is encoded by the same weights: each encoder has an identity with their
sha256.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

from flowprior.registry import Registered, Registry


class Encoder(Registered, abc.ABC):
    """Base class of encoders; the constructor stores its options, the weights are read at the first use.

    Nothing is ever downloaded: weights come from installed packages or from folders of the user's.
    """

    registry: ClassVar[Registry[Any]] = Registry("encoder", "flowprior.encoders")

    @abc.abstractmethod
    def identity(self) -> str:
        """Name, version and sha256 of the weights: equal for equal encodings, and only then."""
