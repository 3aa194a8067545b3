#!/bin/sh
# Runs what a machine with a GPU is wanted for, and leaves the results in a folder:
#
#     ./run.sh [FOLDER]        # ./results where none is named
#
# report.json      `activations report`: self-check, accuracy, rates
# exhaustive.json  every f32 there is through five functions, forward and backward
# bench.json       rates of arrays that stay on the device, beside its plain copy
# torch.json       the same of PyTorch, eager and compiled, where it is installed
#
# The exhaustive check comes last and takes as long as the machine's cores need for the reference;
# what was done before an interrupt is there.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/results}
mkdir -p "$out" || exit 2
functions="relu tanh silu gelu softmax log_softmax"
shape=16384,4096

# The loader that came with this folder is for machines that have none.
PATH=$PATH:/usr/sbin:/sbin
if ! ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1'; then
    export LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi
# In containers NVIDIA's driver lies where no loader looks.
nvidia=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
if [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && [ -e "$nvidia" ]; then
    export VK_DRIVER_FILES="$nvidia"
fi
# Nothing of this machine's earlier runs, and nothing left behind.
export ACTIVATIONS_CACHE=off

failed=0
part() {
    echo "== $1" >&2
    shift
    "$@" || {
        echo "   ended with exit code $?" >&2
        failed=1
    }
}

part "adapters" "$here/activations" adapters
part "report" "$here/activations" report -o "$out/report.json"
# shellcheck disable=SC2086  # The functions are several arguments.
part "rates" "$here/activations" bench $functions --backend gpu --shape "$shape" --json >"$out/bench.json"
if python3 -c 'import torch' 2>/dev/null; then
    # shellcheck disable=SC2086
    part "PyTorch" python3 "$here/torch_rates.py" --shape "$shape" $functions >"$out/torch.json"
else
    echo "== PyTorch is not installed: its rates are left out" >&2
fi
part "exhaustive check" "$here/activations" check --exhaustive gelu silu tanh softplus mish \
    --on gpu --fresh --report "$out/exhaustive.json"
echo "== results are in $out" >&2
exit $failed
