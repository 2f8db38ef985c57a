"""What is wrong with a command line, in one sentence, and what to write instead.

A word is suggested where it means the same as the one that was written, by the tables below, or where it is
spelt nearly so. Where neither holds nothing is suggested, and the message says where the options are listed.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

LIKENESS = 0.75
"""From which share of common letters on an option is taken for a misspelt one."""
SHORTEST_START = 3
"""Letters from which on the beginning of an option is taken for it."""

MEANT = {
    "--batch-size": "-b --batch --bs --train-batch-size --per-device-train-batch-size --minibatch",
    "--callback": "--logger --log --tensorboard --wandb --report-to --track",
    "--cond": "--class --class-label --classes --condition --conditions --label --labels --y",
    "--config": "-c --config-file --configuration --yaml --toml",
    "--count": "-n --num-samples --n-samples --num-images --num-images-per-prompt --samples --number",
    "--coupling": "--pairing --plan-method --matcher",
    "--data": "--dataset --dataset-name --data-dir --data-path --train-data-dir --input",
    "--device": "--gpu --gpus --cuda --cpu --accelerator --mps --devices",
    "--dry-run": "-n --plan --what-if --simulate --preview",
    "--guidance": "--cfg --cfg-scale --guidance-scale --scale",
    "--lr": "--learning-rate --learningrate --base-lr --max-lr",
    "--max-minutes": "--max-time --time-limit --timeout --minutes",
    "--model": "--net --network --arch --architecture --backbone --unet",
    "--negative": "--negative-prompt",
    "--nfe": "--steps --num-steps --num-inference-steps --inference-steps --n-steps --evaluations",
    "--out": "-o --output --output-dir --outdir --out-dir --save --save-dir --run-dir --log-dir --logdir "
    "--default-root-dir --folder --run",
    "--overwrite": "-f --force --overwrite-output-dir --replace --exist-ok",
    "--prediction": "--prediction-type --objective --parameterization --parametrization --predict",
    "--prior": "--source --noise --base --base-distribution",
    "--resume": "--continue --restart --ckpt-path --resume-from-checkpoint --checkpoint",
    "--sampler": "--solver --scheduler --method --ode-solver --integrator",
    "--samples": "--count --num-samples --n-samples",
    "--seed": "--random-seed --random-state --manual-seed",
    "--seeds": "--seed --n-seeds --num-seeds",
    "--set": "--override --option",
    "--steps": "--epochs --max-epochs --num-epochs --num-train-epochs --max-steps --max-train-steps "
    "--num-steps --train-steps --iterations --iters --n-iter --niter",
    "--text": "--prompt --caption --captions",
    "--version": "-v",
}
"""Option -> what other tools, and other commands of this one, call it."""
_KEYS = (
    "accumulate batch-size beta1 beta2 channels-last checkpoint-every clip compile condition-dropout device "
    "ema final-lr init keep-checkpoints log-every loss-weight lr pair-within precision prediction prefetch "
    "sample-every sample-nfe shard time validation warmup weight-decay"
)
SET_TRAINING = _KEYS.split()
"""Keys of the training's configuration, where a command has no option of that name."""
SET_MEANT = {
    "accumulate": "--gradient-accumulation-steps --accumulate-grad-batches --grad-accum",
    "checkpoint-every": "--save-every --checkpointing-steps --save-steps",
    "clip": "--grad-clip --gradient-clip-val --max-grad-norm --clip-grad",
    "condition-dropout": "--cfg-dropout --dropout --uncond-prob --class-dropout-prob",
    "ema": "--ema-decay",
    "keep-checkpoints": "--checkpoints-total-limit --save-top-k",
    "log-every": "--log-every-n-steps --logging-steps",
    "lr": "--learning-rate",
    "batch-size": "--batch --bs",
    "precision": "--fp16 --bf16 --amp --mixed-precision --half --dtype",
    "warmup": "--warmup-steps --lr-warmup-steps --num-warmup-steps",
    "init": "--weights --pretrained --pretrained-model --from-pretrained",
    "validation": "--val --validation-split --val-size",
}
COMMANDS = {
    "train": "fit run start learn",
    "sample": "generate draw infer inference predict samples",
    "evaluate": "eval test validate metrics score benchmark",
    "compare": "sweep grid study ablate tune",
    "inspect": "analyse analyze examine look suggest",
    "list": "ls components show available options priors couplings samplers models data",
    "info": "env doctor version versions about status collect-env",
    "demo": "serve ui app gradio web",
    "train-encoder": "train-vae vae encoder autoencoder",
}
EXPECTED = {
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
}


def usage(error: Any) -> str:
    """What is wrong with a command line that click has refused, and what to do."""
    context = getattr(error, "ctx", None)
    wrong = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and wrong and context:
        return unknown_option(wrong, options_of(context.command), context.command_path)
    hint = f"; see {context.command_path} --help" if context else ""
    message = _refused_value(error) or error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}{hint}"


def _refused_value(error: Any) -> str | None:
    """Option, value and what was expected, where typer has had pydantic look at it."""
    told: Any = getattr(error.__cause__, "errors", None)
    option = getattr(error, "param", None)
    if not callable(told) or option is None:
        return None
    refusals: Any = told()
    first = refusals[0]
    name, value = option.opts[0], first["input"]
    return f"{name}={value!r} is not possible; expected {_expected(first)}"


def _expected(refusal: Mapping[str, Any]) -> str:
    """What pydantic expected, in our words as far as they are known."""
    kind, bounds = refusal["type"], refusal.get("ctx", {})
    if kind in EXPECTED:
        return EXPECTED[kind].format(**bounds)
    return refusal["msg"].removeprefix("Input should be ").split(", ")[0]


def options_of(command: Any) -> list[str]:
    """The names of a command's options, ``--help`` among them."""
    return [*(name for option in command.params for name in option.opts if name.startswith("-")), "--help"]


def unknown_option(wrong: str, known: Sequence[str], command: str) -> str:
    """The sentence for an option that a command does not have."""
    near = nearest_option(wrong, known)
    if near is None:
        return f"no such option '{wrong}'; {command} --help lists the options"
    return f"no such option '{wrong}'; did you mean '{near}'?"


def nearest_option(wrong: str, known: Sequence[str]) -> str | None:
    """The option, or key of ``--set``, that means what ``wrong`` does or is spelt nearly so; else None."""
    word = wrong.lower().replace("_", "-")
    if word in known:
        return word
    meant = [option for option, others in MEANT.items() if option in known and word in others.split()]
    if meant:
        return meant[0]
    long = [name for name in known if name.startswith("--")]
    return _spelt(word, long) or (_set_key(word) if "--set" in known else None)


def _spelt(word: str, known: Sequence[str]) -> str | None:
    """The option that ``word`` begins or misspells; dashes do not count."""
    bare = {name.lstrip("-"): name for name in known}
    letters = word.lstrip("-")
    begun = [name for name in bare if len(letters) >= SHORTEST_START and name.startswith(letters)]
    near = begun[:1] or difflib.get_close_matches(letters, bare, n=1, cutoff=LIKENESS)
    return bare[near[0]] if near else None


def _set_key(word: str) -> str | None:
    meant = [key for key, others in SET_MEANT.items() if word in others.split()]
    near = meant or difflib.get_close_matches(word.lstrip("-"), SET_TRAINING, n=1, cutoff=LIKENESS)
    return f"--set training.{near[0].replace('-', '_')}=…" if near else None


def unknown_command(wrong: str, known: Sequence[str]) -> str:
    """The sentence for a command that there is not."""
    meant = [name for name, others in COMMANDS.items() if wrong.lower() in others.split()]
    near = meant or difflib.get_close_matches(wrong, known, n=1)
    if not near:
        return f"no such command '{wrong}'; there are {', '.join(known)}"
    return f"no such command '{wrong}'; did you mean '{near[0]}'?"
