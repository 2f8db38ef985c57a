# The README's main job in a container, which runs what 'make demo' runs:
#   docker build --tag flowprior . && docker run --rm --volume "$PWD/runs:/flowprior/runs" flowprior
# The picture is in runs/demo/samples.png. No compiler is in the image: the operators run in pure torch.
FROM python:3.11-slim
WORKDIR /flowprior
ENV OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=17179869184

# torch is large and changes seldom: it has a layer of its own.
RUN python3.11 -m venv .venv
RUN .venv/bin/python -m pip install --quiet --no-compile 'torch>=2.10'

COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY csrc csrc
COPY flowprior flowprior
RUN .venv/bin/python -m pip install --quiet --no-compile .

COPY benchmarks/demo.py benchmarks/demo.py
CMD [".venv/bin/python", "benchmarks/demo.py", "--out", "runs/demo"]
