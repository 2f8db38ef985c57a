"""The ninja file of a build: one edge an object, one to link them."""

from __future__ import annotations

import shlex

from csrc.parameters import Object, Parameters

# nvcc's output, ptxas's register counts among it, is kept beside the object; csrc/checks.py reads it.
RULES = """\
ninja_required_version = 1.8
builddir = {folder}

rule cxx
  command = {compiler} -MD -MF $out.d $flags -c $in -o $out
  depfile = $out.d
  deps = gcc
  description = compile $out

rule nvcc
  command = {nvcc} -MD -MF $out.d $flags -c $in -o $out > $out.log 2>&1 || {{ cat $out.log; exit 1; }}
  depfile = $out.d
  deps = gcc
  description = compile $out

rule link
  command = {compiler} -shared -o $out $in $flags
  description = link $out
"""


def ninja_file(built: Parameters) -> str:
    """Text of the ninja file; its paths are relative to the repository, where ninja is to run."""
    head = RULES.format(
        folder=_path(str(built.folder)),
        compiler=_command(built.compiler.command),
        nvcc=_command((str(built.cuda.nvcc),)) if built.cuda else "false",
    )
    module = _path(str(built.folder / built.module))
    inputs = " ".join(_path(str(item.output)) for item in built.objects)
    link = f"build {module}: link {inputs}\n  flags = {_command(built.link)}\n"
    return "\n".join([head, *map(_edge, built.objects), link, f"default {module}\n"])


def _edge(item: Object) -> str:
    paths = f"{_path(str(item.output))}: {item.rule} {_path(str(item.source))}"
    return f"build {paths}\n  flags = {_command(item.flags)}\n"


def _command(words: tuple[str, ...]) -> str:
    return shlex.join(words).replace("$", "$$")


def _path(path: str) -> str:
    for special in "$ :":
        path = path.replace(special, f"${special}")
    return path
