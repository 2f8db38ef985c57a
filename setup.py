"""Build script; everything that is not code stands in pyproject.toml.

This version is pure Python and needs no compiler. The native extension of ``csrc/`` comes with an
issue of its own: this is where it will be declared, and where the environment variable
``FLOWPRIOR_BUILD`` will be read, which says whether to build it. Until then the variable has no effect.
"""

from setuptools import setup

setup()
