#!/usr/bin/env bash
# Ours against the others: makes the Python environment where it is missing, builds, runs, and
# writes target/peers.md and target/peers.json beside this file.
#   run.sh [--torch] [--quick] [options of the program; `run.sh --help` lists them]
# --torch also installs PyTorch (3 GB).
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$here"
python="$here/venv/bin/python"
[ -x "$python" ] || python3 -m venv venv
"$python" -c 'import jax, onnx, onnxruntime' 2>/dev/null ||
    "$python" -m pip install --quiet --only-binary :all: --requirement requirements.txt
if [ "${1:-}" = --torch ]; then
    shift
    "$python" -c 'import torch' 2>/dev/null ||
        "$python" -m pip install --quiet --only-binary :all: torch
fi
cargo build --release
# Freed memory is kept, so that who allocates outputs does not pay for fresh pages in each call.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456
exec target/release/peers --python "$python" --json target/peers.json --markdown target/peers.md "$@"
