"""Which of Lightning's two packages is there: ``lightning``, or ``pytorch_lightning``, its older name.

Their classes are not the same ones, and a trainer of one refuses modules of the other.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flowprior.errors import OptionError, pip_install

NAMES = ("lightning.pytorch", "pytorch_lightning")

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule
else:

    def _module() -> Any:
        """The class ``LightningModule`` of the package that is used: of one imported already, if any.

        Raises:
            OptionError: neither is installed.
        """
        for name in sorted(NAMES, key=lambda name: name not in sys.modules):
            try:
                return import_module(name).LightningModule
            except ModuleNotFoundError as error:
                if error.name not in ("lightning", "lightning.pytorch", "pytorch_lightning"):
                    raise
        missing = "flowprior.lightning: neither lightning nor pytorch_lightning is installed"
        raise OptionError(f"{missing}; {pip_install('lightning')}")

    LightningModule = _module()
