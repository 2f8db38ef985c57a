"""``prior = "auto"``: the design that the data choose, put into a configuration before anything is trained.

A run records what was chosen, and why; one that is resumed never chooses again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from flowprior.couplings import Coupling
from flowprior.data import Data, as_data
from flowprior.data.splits import draw_indices
from flowprior.data.subset import Subset
from flowprior.encoders import LatentEncoder
from flowprior.errors import CouplingError
from flowprior.flow.prediction_kinds import suited_sampler
from flowprior.inspection.choice import MOST_EXAMPLES, Choice, choose_design
from flowprior.priors import Prior
from flowprior.processes.group import Group
from flowprior.progress import showing, stage
from flowprior.training.components import hold_out, in_latents, resolve_device
from flowprior.training.config import AUTO_PRIOR, DEFAULT_COUPLING, NO_LATENT, RunConfig
from flowprior.training.defaults import choose_defaults, resolve_coupling
from flowprior.training.pilot import compare_flows
from flowprior.training.run import RunDirectory
from flowprior.training.run_info import CHOICE, RunInfo

Reasons = tuple[str, ...]
"""Three lines: what the data are, what was measured of them, and what follows."""


def design_of_data(
    config: RunConfig, given: dict[str, Any], run: RunDirectory | None, resume: bool, processes: Group
) -> tuple[RunConfig, dict[str, Any], Reasons]:
    """Configuration and parts with a prior in place of ``"auto"``, and why it is this one.

    Both come back as they are where a prior is named. Of several processes the first one looks at the data.

    Args:
        config: resolved but for what the prior decides.
        given: parts of the run as :func:`flowprior.train` got them, None where it got none.
        run: where the run stands, or will.
        resume: whether the run that stands there goes on.
        processes: that train together.

    Raises:
        OptionError: a run stands there and is not to go on.
        InputError: data that no rule has a prior for.
    """
    begun = run if run is not None and resume and run.config.is_file() else None
    reasons = () if begun is None else tuple(RunInfo(begun.info).read().get(CHOICE, ()))
    if config.prior != AUTO_PRIOR:
        return config, given, reasons
    named = {name: None if part == AUTO_PRIOR else part for name, part in given.items() if name != "data"}
    if begun is not None:
        before = begun.read_config()
        return _with(config, before.prior, before.coupling, named), {**given, **named}, reasons
    if run is not None and processes.rank == 0:
        run.check(config, resume)
    given = {**given, **named, "data": as_data(config.data if given["data"] is None else given["data"])}
    with processes.raising_together():
        own = _look(given["data"], config, given["latent"]) if processes.rank == 0 else None
    choice = processes.of_each(own)[0]
    assert choice is not None
    config = _with(config, choice.prior, choice.coupling, named)
    _check_together(config, given["coupling"] or config.coupling)
    return config, given, reasons_for(choice, config)


def _check_together(config: RunConfig, coupling: str | Coupling) -> None:
    """Refuse a coupling that is named beside ``"auto"`` and cannot serve the prior that the data choose."""
    try:
        resolve_coupling(coupling).check(Prior.registry.resolve(config.prior))
    except CouplingError as error:
        raise CouplingError(
            f"prior 'auto' took {config.prior}, which the coupling that you named cannot serve: {error}; "
            "leave the coupling out, or name the prior, too"
        ) from error


def _look(data: Data, config: RunConfig, latent: str | LatentEncoder | None) -> Choice:
    """The choice for what is trained on: without the events held out, in latents where there are some."""
    kept, _ = hold_out(data, config.training)
    return choose_for(kept, latent or config.latent, config.training.device)


def choose_for(data: Data, latent: str | LatentEncoder = NO_LATENT, device: str = "auto") -> Choice:
    """The choice for ``data`` as the encoder ``latent`` gives them, some thousand of which are encoded."""
    if latent != NO_LATENT and len(data) > MOST_EXAMPLES:
        rows = draw_indices(data, MOST_EXAMPLES, torch.Generator().manual_seed(0))
        data = Subset(data, rows, data.name)
    # The reasons sum up what several fits and trainings have found.
    with stage("choose prior and coupling by the data", everywhere=True, after=1.0), showing(False):
        return choose_design(in_latents(data, latent, None, resolve_device(device)), compare_flows)


def reasons_for(choice: Choice, config: RunConfig) -> Reasons:
    """The three lines, of a configuration that says what follows."""
    training = config.training
    sampler = suited_sampler(training.prediction, resolve_coupling(config.coupling))
    kept = "" if config.coupling == choice.coupling else f"coupling {config.coupling} as given, "
    follows = f"so: {kept}prediction {training.prediction}, times {training.time}, sampled by {sampler}"
    return choice.data, choice.reason, follows


def with_choice(config: RunConfig, choice: Choice, **given: Any) -> RunConfig:
    """``config`` with the prior of ``choice``, its coupling where none is named, and what both decide.

    Args:
        config: whose prior is ``"auto"``.
        choice: of the data.
        given: ``coupling`` and ``model`` where they came as instances.
    """
    return _with(config, choice.prior, choice.coupling, given)


def _with(config: RunConfig, prior: str, coupling: str, given: dict[str, Any]) -> RunConfig:
    coupling = coupling if config.coupling == DEFAULT_COUPLING else config.coupling
    config = replace(config, prior=prior, coupling=coupling)
    return choose_defaults(config, prior, given.get("coupling"), given.get("model"))
