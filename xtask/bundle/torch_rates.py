"""Rates of PyTorch's functions, eager and compiled, as JSON: what `activations bench --json` prints of ours.

    torch_rates.py [--device cuda] [--shape 16384,4096] FUNCTION...

Arrays stay on the device. A sample is repeated calls of some 20 ms, and beside each is one of a plain
copy; medians of nine.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

FUNCTIONS = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "silu": F.silu,
    "gelu": F.gelu,
    "softmax": lambda x: F.softmax(x, dim=-1),
    "log_softmax": lambda x: F.log_softmax(x, dim=-1),
}
SAMPLES = 9
SAMPLE = 0.020


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("functions", nargs="+", choices=sorted(FUNCTIONS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", default="16384,4096")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    shape = [int(n) for n in arguments.shape.split(",")]
    x = (torch.rand(shape, device=device) * 2 - 1) * 8
    dy = torch.rand(shape, device=device) * 2 - 1
    y = torch.empty_like(x)

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def seconds(work, calls):
        wait()
        start = time.perf_counter()
        for _ in range(calls):
            work()
        wait()
        return time.perf_counter() - start

    def calls_of(work):
        seconds(work, 1)
        return max(1, min(1000, int(SAMPLE / max(seconds(work, 1), 1e-7)) + 1))

    def measure(work, arrays):
        """GB/s of `work`, which moves that many arrays, and its share of the copy's."""
        copy = lambda: y.copy_(x)
        copy_calls, calls = calls_of(copy), calls_of(work)
        rates, shares = [], []
        for _ in range(SAMPLES):
            copied = 2 * x.nbytes * copy_calls / seconds(copy, copy_calls) / 1e9
            rate = arrays * x.nbytes * calls / seconds(work, calls) / 1e9
            rates.append(rate)
            shares.append(rate / copied)
        return statistics.median(rates), statistics.median(shares)

    def backward(f):
        leaf = x.detach().requires_grad_()
        out = f(leaf)
        return lambda: torch.autograd.grad(out, leaf, dy, retain_graph=True)

    results = []
    for name in arguments.functions:
        for mode in ("eager", "compiled"):
            f = FUNCTIONS[name] if mode == "eager" else torch.compile(FUNCTIONS[name])
            with torch.no_grad():
                found = [("forward", *measure(lambda: f(x), 2))]
            found.append(("backward", *measure(backward(f), 3)))
            for direction, rate, share in found:
                results.append(
                    {
                        "function": name,
                        "pass": direction,
                        "mode": mode,
                        "median_gb_per_s": rate,
                        "share_of_copy": share,
                    }
                )
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    summary = {"library": f"torch {torch.__version__}", "device": name, "shape": shape, "results": results}
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
