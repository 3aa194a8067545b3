"""Threads, forks, interrupts, and the interpreter's lock."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

import wgpu_activations as wa


def run(code, **keywords):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, **keywords)


def test_threads_share_a_backend(backend):
    random = np.random.default_rng(1)
    arrays = [random.normal(size=(64, 200 + i)).astype(np.float32) for i in range(16)]
    names = ["gelu", "softmax", "logsumexp", "silu"]
    want = {(name, i): wa.function(name)(x) for name in names for i, x in enumerate(arrays)}

    def work(job):
        name, i = job
        with wa.use(backend):
            np.testing.assert_array_equal(wa.function(name)(arrays[i]), want[job])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, list(want) * 5))


def test_the_lock_is_released():
    """While a call computes, another thread counts."""
    x = np.random.default_rng(1).normal(size=4_000_000).astype(np.float32)
    counted, stop = 0, threading.Event()

    def count():
        nonlocal counted
        while not stop.is_set():
            counted += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=count)
    with wa.use("cpu"):
        thread.start()
        begin = counted
        for _ in range(5):
            wa.mish(x)
        during = counted - begin
        stop.set()
    thread.join()
    assert during > 3


def test_use_is_the_threads_own():
    seen = []
    with wa.use("cpu"):
        thread = threading.Thread(target=lambda: seen.append(wa.backend().description))
        thread.start()
        thread.join()
        assert wa.backend().description.endswith("asked for")
    assert seen == [wa.backend().description]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork_a_use_is_an_error():
    done = run("""
        import os, sys, numpy as np, wgpu_activations as wa
        x = np.ones(2_000_000, np.float32)
        wa.gelu(x)
        child = os.fork()
        if child == 0:
            try:
                wa.gelu(x)
            except wa.DeviceError as error:
                print(error, flush=True)
                os._exit(3)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), wa.gelu(x)[0])
    """)
    assert "'spawn'" in done.stdout and "\n3 0.84" in done.stdout, done


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_before_the_first_use_computes():
    done = run("""
        import os, numpy as np, wgpu_activations as wa
        child = os.fork()
        y = wa.gelu(np.ones(2_000_000, np.float32))
        if child == 0:
            os._exit(0 if y[0] > 0.84 else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)
    assert done.stdout == "0\n", done


def test_processes_that_are_spawned_compute():
    x = np.float32([-1, 2])
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        np.testing.assert_array_equal(pool.submit(wa.function("elu", alpha=0.5), x).result(), wa.elu(x, alpha=0.5))


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_an_interrupt_is_seen_within_a_second():
    code = textwrap.dedent("""
        import signal, time, numpy as np, wgpu_activations as wa
        # A job of a shell's background ignores it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        wa.set_backend("cpu")
        x = np.random.default_rng(1).normal(size=(40, 1_000_000)).astype(np.float32)
        f = wa.function("entmax", alpha=1.7)
        print("ready", flush=True)
        begin = time.perf_counter()
        try:
            while True:
                f(x)
                print("one", time.perf_counter() - begin, flush=True)
        except KeyboardInterrupt:
            print("interrupted", time.perf_counter(), flush=True)
        # What is left computing does no harm.
        print(wa.relu(np.float32([-1, 2]))[1], flush=True)
    """)
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.5)
    begin = time.perf_counter()
    child.send_signal(signal.SIGINT)
    line = child.stdout.readline()
    while line.startswith("one"):
        line = child.stdout.readline()
    took = time.perf_counter() - begin
    assert line.startswith("interrupted"), line
    assert child.stdout.readline() == "2.0\n"
    assert child.wait(60) == 0
    assert took < 1.0
