"""A user's mistake ends in one line on stderr and exit code 2; names of users are no markup."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from flowprior.cli import commands, main
from flowprior.cli.commands import print_rich
from tests.cli.conftest import SHORT, Call
from tests.flow_folder import weights_of


def assert_one_line(answer: object, *words: str) -> None:
    code, out, err = answer.code, answer.out, answer.err  # type: ignore[attr-defined]
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if line]
    assert len(lines) == 1, err
    assert lines[0].startswith("flowprior: error: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prior", "gmn"], ["unknown prior 'gmn'", "did you mean 'gmm'?"]),
        (["--coupling", "condt"], ["unknown coupling 'condt'", "did you mean 'condot'?"]),
        (["--path", "linear"], ["unknown path 'linear'", "known: "]),
        (["--model", "unett"], ["unknown model 'unett'", "did you mean 'unet'?"]),
        (["--data", "digitz"], ["unknown data set 'digitz'", "did you mean 'digits'?"]),
        (["--data", "gone.npz"], ["no file gone.npz"]),
        (["--data", ""], ["an empty text", "write . for this folder"]),
        (["--data", " "], ["an empty text"]),
        (["--data", "folder:path="], ["an empty text"]),
        (["--data", "~nobody-of-that-name/x.npz"], ["no home folder"]),
        (["--data", "x" * 5000], ["unknown data set"]),
        (["--data", "x" * 5000 + ".npz"], ["no file"]),
        (["--data", "a\0b"], ["a NUL character"]),
        (["--data", "a\0b.npz"], ["a NUL character"]),
        (["--data", "digits\nmoons"], ["unknown data set"]),
        (["--prior", ""], ["unknown prior ''"]),
        (["--prior", "gmm:components=eight"], ["components='eight'", "a whole number"]),
        (["--prior", "gmm:komponents=2"], ["no option 'komponents'", "did you mean 'components'?"]),
        (["--prior", "gmm:components"], ["expected key=value, got 'components'"]),
        (["--prior", "gmm:covariance=dia"], ["covariance", "did you mean 'diag'?"]),
        (["--prior", "gmm:components=0"], ["components=0", "1 or more"]),
        (["--prior", "gaussian", "--coupling", "posterior"], ["latent"]),
        (["--steps", "0"], ["steps=0", "1 or more"]),
        (["--steps", "many"], ["--steps", "valid integer", "train --help"]),
        (["--set", "steps=3"], ["unknown key 'steps'", "did you mean 'training.steps'?"]),
        (["--model", "mlp:widht=3"], ["did you mean 'width'? options: width, depth, reads"]),
        (["--lr", "0"], ["lr=0.0", "a number above 0"]),
        (["--batch-size", "0"], ["batch_size=0", "1 or more"]),
        (["--prediction", "velocty"], ["unknown prediction 'velocty'", "did you mean 'velocity'?"]),
        (["--device", "gpu9"], ["device='gpu9'"]),
        (["--resume", "--overwrite"], ["--resume", "--overwrite", "choose one of them"]),
        (["--stesp", "3"], ["no such option: --stesp", "--steps", "see ", "train --help"]),
        (["--set", "training.stps=3"], ["unknown key 'training.stps'", "did you mean 'training.steps'?"]),
        (["--prior", "gmm", "--set", "training.time=unifrom"], ["did you mean 'uniform'"]),
        (["--prior", "gmm", "--set", "training.loss_weight=adaptiv"], ["did you mean 'adaptive'"]),
        (["--set", "training.lr=fast"], ["lr='fast'", "a finite number"]),
        (["--set", "training"], ["expected section.key=value, got 'training'"]),
        (["--config", "gone.toml"], ["cannot read gone.toml"]),
        (["--data", "moons", "--set", "data=foo"], ["an option of the command gives data, too"]),
        (["--steps", "3", "--set", "training.steps=4"], ["an option of the command gives training.steps"]),
        (["--out=~/x", "--config=~/gone.toml"], [f"cannot read {Path.home() / 'gone.toml'}"]),
        (["--set", "training.device=gpu9"], ["device='gpu9'"]),
    ],
)
def test_train(call: Call, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    out = tmp_path / "run"
    assert_one_line(call("train", "--out", out, *arguments), *words)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cond", "12"], ["--cond", "0..9"]),
        (["--cond", "three"], ["--cond", "0..9"]),
        (["--nfe", "3", "--sampler", "heun"], ["nfe=3", "choose 2 or 4"]),
        (["--nfe", "-1"], ["nfe=-1"]),
        (["--sampler", "eler"], ["did you mean 'euler'?"]),
        (["--sampler", "euler:steps=3"], ["no option 'steps'"]),
        (["--count", "0"], ["--count", "sample --help"]),
        (["--seed", "-1"], ["--seed", "sample --help"]),
        (["--guidance", "nan"], ["guidance=nan", "finite"]),
        (["--guidance", "2"], ["guidance=2", "never saw the null", "--set training.condition_dropout=0.1"]),
        (["--nfe", "1000001"], ["nfe=1000001", "1,000,000 at most"]),
        (["--out", "s.gif.txt"], ["s.gif.txt", ".png", ".npz"]),
        (["--out", "{run}/info.json/s.npz"], ["is a file, not a folder"]),
        (["--temperature", "-1"], ["temperature=-1.0 is not possible; choose a number, 0 or more"]),
        (["--animate", "f.png"], ["ends in .gif"]),
        (["--out", "s.npz", "--animate", "f.gif", "--show-prior"], ["--show-prior draws a figure"]),
        (["--device", "gpu9"], ["device='gpu9'"]),
    ],
)
def test_sample(call: Call, run: Path, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    given = [argument.format(run=run) for argument in arguments]
    assert_one_line(call("sample", run, "--out", tmp_path / "g.png", *given), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nfe", "1,two"], ["--nfe='1,two'", "1,2,4"]),
        (["--features", "inception"], ["'inception' needs path and sha256; write inception:path=…,sha256=…"]),
        (["--nfe", "-1"], ["nfe=-1"]),
        (["--samples", "1"], ["samples=1"]),
        (["--data", "moons"], ["makes events [1, 8, 8]", "'moons'"]),
        (["--guidance", "inf"], ["guidance=inf", "finite"]),
        (["--guidance", "1,1.5"], ["guidance=1.5", "--set training.condition_dropout=0.1"]),
        (["--data", ""], ["an empty text", "write . for this folder"]),
        (["--reference", "digits", "--reference", "digits"], ["'digits' is given twice"]),
        (
            ["--reference", "digits", "--reference", "b=digits", "--plot", "p.png"],
            ["draws a single reference"],
        ),
    ],
)
def test_evaluate(call: Call, run: Path, arguments: list[str], words: list[str]) -> None:
    assert_one_line(call("evaluate", run, *arguments), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["no such command 'trian'", "did you mean 'train'?"]),
        (["eval"], ["no such command 'eval'", "did you mean 'evaluate'?"]),
        (["xyzzy"], ["no such command 'xyzzy'", "there are train, sample"]),
        (["--verson"], ["no such option: --verson", "--version"]),
        (["sample"], ["missing", "RUN", "sample --help"]),
        (["sample", "."], ["missing option '--out'"]),
        (["inspect", "--data", "digits", "--prior", "gmn"], ["did you mean 'gmm'?"]),
        (["train", "--json", "--out", "r", "--prior", "gmn"], ["unknown prior 'gmn'"]),
        (["train", "--resume"], ["--resume needs --out RUN"]),
        (["train", "--overwrite"], ["--overwrite needs --out RUN"]),
        (["list", "piors"], ["no family 'piors'", "did you mean 'priors'?"]),
        (["list", "gmm"], ["no family 'gmm'", "did you mean 'flowprior list priors gmm'?"]),
        (["list", "priors", "gmn"], ["'gmn'", "did you mean 'gmm'?", "known: "]),
        (["list", "priors", "gmm", "flow"], ["flow", "list --help"]),
    ],
)
def test_commands_and_arguments(call: Call, arguments: list[str], words: list[str]) -> None:
    assert_one_line(call(*arguments), *words)


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_no_run(call: Call, tmp_path: Path, command: str) -> None:
    out = ["--out", tmp_path / "g.png"]
    gone = tmp_path / "gone"
    assert_one_line(call(command, gone, *out), f"no run {gone}", f"train --out {gone}")
    assert_one_line(call(command, tmp_path, *out), "neither a run nor a flow")


def test_a_run_is_not_overwritten(call: Call, run: Path) -> None:
    before = weights_of(run / "flow").read_bytes()
    assert_one_line(call("train", "--out", run), "already holds a run", "--resume", "--overwrite")
    assert_one_line(call("train", "--out", run, "--resume", "--seed", "5"), "training.seed 0 -> 5")
    assert weights_of(run / "flow").read_bytes() == before


def test_a_flow_without_its_data_asks_for_them(call: Call, run: Path, tmp_path: Path) -> None:
    from flowprior.flow import Flow

    flow = Flow.load(run / "flow")
    flow.metadata = {}
    flow.save(tmp_path / "bare")
    assert_one_line(call("evaluate", tmp_path / "bare"), "pass --data")
    answer = call("evaluate", tmp_path / "bare", "--data", "digits", "--nfe", "1", "--samples", "20")
    assert answer.code == 0


def test_a_bug_keeps_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowprior.storage.user_paths.cache_folder", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["info"])


def test_ctrl_c_is_one_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("flowprior.storage.user_paths.cache_folder", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(SystemExit) as stop:
        main(["info"])
    assert stop.value.code == commands.INTERRUPTED == 130
    assert capsys.readouterr().err.strip() == "flowprior: interrupted"


def test_compare_refuses_to_set_what_an_option_gives(call: Call, tmp_path: Path) -> None:
    for option, override in {"--data=moons": "data=digits", "--prior=gmm": "priors=['gaussian']"}.items():
        answer = call("compare", "--out", tmp_path / "study", option, "--set", override, "--dry-run")
        assert_one_line(answer, f"an option of the command gives {override.partition('=')[0]}, too")


# -- names that are no markup, and a missing extra ------------------------------------------------


ODD = "x[/b] [red] $\\frac$ \\1 :smile:"


def test_text_and_tables_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    table = Table(title=ODD, caption=ODD, width=80)
    table.add_column(ODD, no_wrap=True)
    table.add_row(ODD)
    print_rich(ODD, table)
    assert capsys.readouterr().out.count(ODD) == 5


def test_compare_takes_any_label(call: Call, tmp_path: Path) -> None:
    specs = {"[/b]": "gaussian", "a\\1": "gmm:components=1", "$\\frac$": "gmm:components=2"}
    sizes = ["--seeds", "1", "--steps", "2", "--samples", "20", "--nfe", "1", "--set", "curve.points=0"]
    sizes += ["--set", "evaluation.metrics=['fid']"]
    priors = [f"--prior={label}={spec}" for label, spec in specs.items()]
    parts = [*priors, "--coupling", "condot", "--model", "mlp:width=8"]
    out = tmp_path / "out[/b]"
    answer = call("compare", *parts, *sizes, *SHORT, "--out", out)
    assert answer.code == 0, answer.err
    assert f"the report is in {out}" in answer.out
    for written in (answer.out, (out / "report.html").read_text()):
        assert all(f"{label} + condot" in written for label in specs)


@pytest.mark.parametrize("options", [[], ["--report-only"]])
def test_compare_asks_for_its_extra_before_it_works(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr("flowprior.study.run_grid", Mock(side_effect=AssertionError("the work was begun")))
    answer = call("compare", *options, "--out", tmp_path / "out")
    assert (answer.code, answer.out) == (2, "")
    needs = "the report needs jinja2; pip install jinja2 pandas"
    assert answer.err == f"flowprior: error: compare: {needs}\n"
    assert not (tmp_path / "out").exists()
