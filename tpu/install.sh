#!/usr/bin/env bash
# Installs this checkout for a TPU: `tpu/install.sh` on the machine that has it, `--list` to look.
#
# tensorflow-tpu is TensorFlow, and takes the same place on the disk. What stands on TensorFlow asks
# for `tensorflow` by name, so pip, left to itself, installs both, one over the other. So pip looks
# for nothing here: constraints.txt is the whole set, with tensorflow-tpu in place of tensorflow.
#
#   PYTHON=python3.11 tpu/install.sh     another Python than python3; 3.10 to 3.13
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
list() {
  sed -E 's/^tensorflow==/tensorflow-tpu==/' "$here/constraints.txt"
  echo "libtpu==0.0.14" # the lowest that tensorflow-tpu 2.20.0 asks for
}
if [ "${1:-}" = --list ]; then
  list
  exit
fi
"$python" -m pip install --quiet --no-deps --requirement <(list)
"$python" -m pip install --quiet --no-deps "$here"
