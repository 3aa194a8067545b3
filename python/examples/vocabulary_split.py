"""A cross entropy whose vocabulary is divided among Ray actors: logits [n, V / k] on each of k workers.

No worker sees another one's logits. What travels is a part of each row, 28 bytes, and the target's logit.
"""

import numpy as np
import ray

import wgpu_activations as wa

ROWS, VOCABULARY, WORKERS = 256, 32_000, 4


@ray.remote(num_cpus=0)
class Worker:
    """Has some of the classes."""

    def __init__(self, first, count):
        # Where a model would compute them: here they are made up, the same whoever makes them.
        self.first, self.logits = first, logits()[:, first : first + count]

    def part(self, targets):
        return wa.CrossEntropyPart(self.logits, targets, self.first)

    def gradient(self, whole):
        return whole.grad(self.logits, self.first)


def logits():
    return np.random.default_rng(1).normal(size=(ROWS, VOCABULARY)).astype(np.float32) * 4


def main():
    """On the cluster that the process has, or one of its own."""
    targets = np.random.default_rng(2).integers(VOCABULARY, size=ROWS)
    count = VOCABULARY // WORKERS
    workers = [Worker.remote(i * count, count) for i in range(WORKERS)]

    whole = sum(ray.get([worker.part.remote(targets) for worker in workers]))
    loss = whole.loss()
    gradient = np.concatenate(ray.get([worker.gradient.remote(whole) for worker in workers]), axis=1)

    value, slope = wa.value_and_grad("cross_entropy", logits(), targets)
    assert abs(loss - value) <= 1e-6 * value
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-9)
    print(f"cross entropy over {WORKERS} workers {loss:.7}, in one process {value:.7}")


if __name__ == "__main__":
    main()
