#!/bin/sh
# The light environment: medclip[cpu] alone, as on a hospital workstation. Proves that it answers without torch, and
# weighs it; then with the extra serve, that it serves. Needs an interpreter as $1.
set -eu
rm -rf .venv-light build/light
"$1" -m venv .venv-light
.venv-light/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock setuptools build wheel 2>/dev/null \
  || .venv-light/bin/python -m pip install --quiet --disable-pip-version-check setuptools build wheel
.venv-light/bin/python -m build --wheel --no-isolation --outdir build/light . >/dev/null
.venv-light/bin/python -m pip uninstall --quiet --yes build wheel
wheel=$(ls "$PWD"/build/light/*.whl)
.venv-light/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock "$wheel[cpu]"
.venv-light/bin/python benchmarks/light_check.py
.venv-light/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock "$wheel[cpu,serve]"
.venv-light/bin/python benchmarks/light_serve.py
rm -rf .venv-light build/light
