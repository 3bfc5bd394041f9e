#!/bin/sh
# Gradescope builds the autograder's image with this, once. Beside it in the zip: run_autograder, isolation.sh, the wheel,
# and constraints.txt, with which the libraries are those that the course was tried with.
set -eu
TORCH_WHEELS= # the page of PyTorch's CPU wheels, pytorch.org's address and /torch/; empty: where pip looks by itself

root=${AUTOGRADER:-/autograder}
cd "$root/source"
apt-get update -qq
apt-get install -y -qq python3 python3-venv >/dev/null
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "alphabar needs Python 3.11 or newer: choose a newer base image."
  exit 1
fi
sh isolation.sh
python3 -m venv "$root/venv"
if [ -f constraints.txt ]; then export PIP_CONSTRAINT="$root/source/constraints.txt"; fi
PIP_FIND_LINKS="$TORCH_WHEELS" "$root/venv/bin/python" -m pip install --quiet torch
"$root/venv/bin/python" -m pip install --quiet ./*.whl
