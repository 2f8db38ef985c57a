"""Bring the tensors of priors that older versions wrote into the form of today.

Nothing else looks at the names of a checkpoint's tensors to find out what they belong to.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from flowprior.errors import CheckpointError
from flowprior.priors.seen_conditions import KINDS
from flowprior.registry import Spec, parse_spec

State = dict[str, Tensor]
LAST_READER = "ec83d767"
"""The last commit of flowprior that reads the prior ``shifted``, which was trained with its flow."""
RENAMED = {
    "condition_size": "seen.size",
    "seen": "seen.rows",
    "seen_weight": "seen.weight",
    "seen_spread": "seen.spread",
    "saw_zero": "seen.saw_zero",
    "pooled": "seen.pooled",
    "table.conditions": "seen.rows",
    "table.count": "seen.weight",
    "table.means": "means",
    "widening.lengths": "distance.lengths",
    "widening.most": "distance.most",
    "spread.factor": "residuals.factor",
    "spread.noise": "residuals.noise",
    "spread.left": "residuals.left",
    "spread.total": "residuals.total",
}
"""The name of a tensor in older files -> its name now."""
MIXTURE = ("auto", "mixture", "gmm")
"""The distributions of the latents that may be a mixture whose covariances the fit chose."""
OPTIONS_OF_MIXTURE = {"shrinkage": "latent_shrinkage", "tol": "tol", "max_iter": "max_iter"}
"""The option of a mixture of the latents -> the option of ``latent-gmm``."""
RETIRED = ("far", "keep_conditions", "representatives")
"""Options of ``learned-mean`` and ``kernel-mean`` that only the fit read."""


def current_spec(text: str) -> Spec:
    """Return the spec of today for the prior of a saved flow or prior.

    Raises:
        CheckpointError: ``shifted``, which no version reads any more.
        OptionError: what is no spec.
    """
    spec = parse_spec(text, "prior")
    if spec.name == "shifted":
        raise CheckpointError(
            f"expected a prior of this version, got 'shifted', which commit {LAST_READER} of flowprior is "
            "the last to read; install that commit, or train again with another prior"
        )
    if spec.name not in ("learned-mean", "mapper", "kernel-mean"):
        return spec
    options = {name: value for name, value in spec.options.items() if name not in RETIRED}
    if latent := options.pop("latent", 0):
        options |= {"covariance": "lowrank", "rank": latent, "components": 1}
    return Spec(spec.name, options)


def upgrade(prior: Any, state: State, prefix: str) -> None:
    """Rename, add and reshape the tensors of ``prior`` that stand in ``state`` under ``prefix``."""
    own = {key.removeprefix(prefix): state.pop(key) for key in list(state) if key.startswith(prefix)}
    if own.keys() & RENAMED.keys():
        _upgrade_conditions(prior, own)
        own |= {new: own.pop(old) for old, new in RENAMED.items() if old in own}
    if hasattr(prior, "family") and "count" in own:
        _upgrade_mixture(prior, own)
    for name, value in prior.seen.state_dict().items():
        own.setdefault(f"seen.{name}", value)
    if hasattr(prior, "residuals"):
        _upgrade_residuals(prior, own)
    if hasattr(prior, "subspace"):
        _upgrade_subspace(prior, own)
    state |= {prefix + name: value for name, value in own.items()}


def _upgrade_conditions(prior: Any, own: State) -> None:
    """Complete what versions before there were centres wrote, which are training conditions, and warn."""
    known = own.pop("known", torch.empty(0))
    if len(known):  # the embeddings that distances are measured to
        own |= {"seen": known, "seen_weight": known.new_ones(len(known))}
    seen = own.get("seen")
    if seen is None or "seen_spread" in own:
        return
    kept = 0 if seen.dim() < 2 else len(seen)
    zero = kept > 0 and bool((seen == 0).flatten(1).all(1).any())
    own |= {"seen_spread": torch.empty(0), "pooled": torch.empty(0)}
    own["saw_zero"] = torch.tensor(zero, device=seen.device)
    if kept:
        warnings.warn(
            f"prior '{prior.name}': an older version saved it, with {kept:,} training conditions as "
            "they were; fit it again before you give it away",
            RuntimeWarning,
            stacklevel=2,
        )


def _upgrade_mixture(prior: Any, own: State) -> None:
    """Read the labels off their counts, and leave out the Gaussian of all rows, the last of the tables."""
    count = own.pop("count")
    labels = torch.arange(len(count)) if prior.shrinkage > 0 else count.nonzero()[:, 0]
    own["seen.size"] = torch.tensor([KINDS.index("labels" if len(count) else "none"), len(count)])
    own |= {"seen.rows": labels, "seen.weight": count[labels].to(own["loc"])}
    own |= {name: own[name][:-1] for name in ("logits", "loc", *prior.family.parameters)}


def _upgrade_residuals(prior: Any, own: State) -> None:
    """Complete the tensors of a mean with residuals around it."""
    for name in [name for name in own if name.startswith("mapper.")]:
        own["network." + name.removeprefix("mapper.")] = own.pop(name)
    for name, value in {"lengths": torch.zeros(2), "most": torch.ones(())}.items():
        own.setdefault(f"distance.{name}", value)
    if hasattr(prior, "condition_dims"):
        own.setdefault("condition_dims", torch.empty(0, dtype=torch.long))
    if "residuals.noise" in own:
        for name in ("left", "total"):
            own.setdefault(f"residuals.{name}", torch.ones_like(own["residuals.noise"]))
    factors, spread = own.get("residuals.spread.factors"), own.get("residuals.spread.spread")
    if factors is not None and spread is not None and len(factors) == 2 != len(spread) + 1:
        inside, outside = factors  # one factor for all axes
        own["residuals.spread.factors"] = torch.stack([inside] * len(spread) + [outside])
    for name in ("spread.null_loc", "means", "shared"):  # which follow from others
        own.pop(f"residuals.{name}", None)
    if "residuals.noise" in own and "residuals.factor" in own:
        _upgrade_factor(prior, own)
    if "residuals.law.network.out.bias" in own:
        _upgrade_latents(prior, own)


def _upgrade_factor(prior: Any, own: State) -> None:
    """Read a factor W ``[D, r]`` of all conditions as a low-rank covariance whose network says nothing."""
    factor, noise = own.pop("residuals.factor"), own["residuals.noise"]
    if not factor.shape[1]:
        return
    for name in [name for name in own if name.startswith("residuals.")]:
        del own[name]
    basis, singular, _ = torch.linalg.svd(factor / noise.sqrt()[:, None], full_matrices=False)
    spread = {"noise": noise, "null_noise": noise, "basis": basis, "floor": noise.new_zeros(())}
    spread |= dict.fromkeys(("spread", "null_spread"), 1 + singular.square())
    one = noise.new_ones(1, 1, len(singular))  # a Gaussian of any mean and variance, which are standardised
    _make_low_rank(prior, own, one[..., 0], one, one)
    own |= {f"residuals.spread.{name}": value for name, value in spread.items()}


def _upgrade_latents(prior: Any, own: State) -> None:
    """Read the mixture of the latents off the last bias of a network that said no more than that.

    Raises:
        CheckpointError: it did say more, or the covariance was another one far from the fit.
    """
    law = {name: own.pop(name) for name in list(own) if name.startswith("residuals.law.")}
    weight, bias = law["residuals.law.network.out.weight"], law["residuals.law.network.out.bias"]
    if bool(weight.any()) or bool(own["distance.lengths"].any()):
        raise CheckpointError(
            "expected one mixture of latents, and a low-rank covariance that does not depend on the distance "
            "from the fit, got far=widen or a mixture for each condition; fit the prior again"
        )
    rank = len(own["residuals.spread.spread"])
    count = len(bias) // (1 + 2 * rank)
    logits, loc, scale = bias.split([count, count * rank, count * rank])
    var = (functional.softplus(scale) + 0.05).square()
    _make_low_rank(prior, own, logits[None], loc.view(1, count, rank), var.view(1, count, rank))


def _make_low_rank(prior: Any, own: State, logits: Tensor, loc: Tensor, var: Tensor) -> None:
    """Complete the tensors of low-rank residuals, whose latents follow this mixture."""
    prior._make_parts(own, "")
    latents = prior.residuals.latents
    latents.logits, latents.loc, latents.var = logits, loc, var
    latents.event_dims = torch.tensor([loc.shape[-1]])
    prior.residuals.standardise_latents()
    for name, value in prior.residuals.state_dict().items():
        own.setdefault(f"residuals.{name}", value)


def _upgrade_subspace(prior: Any, own: State) -> None:
    """Complete the tensors of a subspace, and name the distribution of its latents."""
    own.setdefault("given", torch.empty(0))
    own.setdefault("subspace.group", torch.empty(0, dtype=torch.long))
    for name in ("rotation", "common"):
        own.setdefault(f"subspace.{name}", torch.empty(0))
    if not hasattr(prior, "latents_spec") or "latents_spec" in own:
        return
    distribution = prior.distribution
    if distribution == "auto" and "latents.count" not in own:
        distribution = "averaged-gmm"
    elif distribution in MIXTURE:
        options: dict[str, Any] = {"components": own["latents.logits"].shape[1]}
        options["covariance"] = "diag" if "latents.var" in own else "full"
        options |= {name: getattr(prior, option) for name, option in OPTIONS_OF_MIXTURE.items()}
        distribution = str(Spec("gmm", options))
    own["latents_spec"] = torch.tensor(list(distribution.encode()), dtype=torch.uint8)
