"""A third-party package, really installed in an environment of its own, joins through entry points."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from functools import partial
from pathlib import Path

import pytest

import flowprior

USE = """
import json, warnings
import torch
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from flowprior.couplings import Coupling
    from flowprior.priors import Prior
    early = len([w for w in caught if "plug-in" in str(w.message)])
    names = Prior.available()
    again = Prior.available()
prior = Prior.create("uniform-box", margin=1.0).fit(torch.tensor([[0.0, 2.0], [4.0, 2.0]]))
x0 = prior.sample(n=500, generator=torch.Generator().manual_seed(0))
coupling = Coupling.create("reversed")
x1 = torch.zeros(3, 2)
print(json.dumps({
    "early": early,
    "names": names,
    "warnings": [[w.category.__name__, str(w.message)] for w in caught if "plug-in" in str(w.message)],
    "description": Prior.record("uniform-box").description,
    "options": dict(Prior.record("uniform-box").options),
    "name": prior.name,
    "low": x0.amin(0).tolist(),
    "high": x0.amax(0).tolist(),
    "log_prob": prior.log_prob(x0).tolist()[0],
    "paired": list(coupling.draw(prior, x1, None).shape),
    "plugin": __import__("flowprior_test_plugin").__file__,
}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """A virtual environment that sees this one's packages, and this flowprior, plus the plug-in."""
    folder, run = tmp_path_factory.mktemp("plugin"), partial(subprocess.run, check=True, capture_output=True)
    python = folder / "venv" / "bin" / "python"
    run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"])
    (site,) = folder.glob("venv/lib/python*/site-packages")
    (site / "host.pth").write_text(
        f"{sysconfig.get_path('purelib')}\n{Path(flowprior.__file__).parents[1]}\n"
    )
    source = shutil.copytree(Path(__file__).parent / "plugin", folder / "source")
    options = ["--no-index", "--no-deps", "--no-build-isolation"]
    run([python, "-m", "pip", "install", "-q", *options, source])
    return python


@pytest.mark.slow
def test_an_installed_package_adds_components_and_its_broken_one_is_skipped(environment, tmp_path):
    run = subprocess.run([environment, "-c", USE], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert Path(seen["plugin"]).is_relative_to(environment.parents[1]), "the installed one was imported"
    assert seen["early"] == 0, "plug-ins are not imported before they are asked for"
    assert "uniform-box" in seen["names"]
    assert "broken-prior" not in seen["names"]
    assert {"gaussian", "gmm", "learned-mean"} <= set(seen["names"])
    assert [category for category, _ in seen["warnings"]] == ["RuntimeWarning"], "once, whatever is asked"
    assert seen["warnings"][0][1] == (
        "prior plug-in 'broken-prior' (flowprior_test_plugin_broken:BrokenPrior) is skipped: "
        "ModuleNotFoundError: No module named 'a_library_that_nobody_has'"
    )
    assert seen["description"] == "Uniform in the box that holds the data, whatever the condition."
    assert seen["options"] == {"margin": 0.5, "reads": ""}
    assert seen["name"] == "uniform-box"
    assert -1 <= seen["low"][0] < -0.9
    assert 2.9 < seen["high"][1] <= 3
    assert seen["log_prob"] == pytest.approx(-2.4849066)  # a box of 6 by 2
    assert seen["paired"] == [3, 2]


@pytest.mark.slow
def test_an_installed_package_adds_commands(environment, tmp_path):
    def flowprior(*words: str) -> subprocess.CompletedProcess[str]:
        command = [environment, "-m", "flowprior", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    assert flowprior("count-letters", "prior", "--upper").stdout == "PRIOR: 5\n"
    shown = flowprior("--help")
    assert "Count the letters of a word." in shown.stdout
    assert (
        "warning: command 'broken-command' (flowprior_test_plugin_broken:broken) is skipped" in shown.stderr
    )
    assert "Train for a single step." in flowprior("train", "--help").stdout
    refused = flowprior("count-letters", "4")
    assert refused.returncode == 2
    assert refused.stderr == "flowprior: error: count-letters: expected a word of letters, got '4'\n"
    assert "did you mean 'count-letters'?" in flowprior("count-leters", "4").stderr
