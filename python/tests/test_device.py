"""Tensors that stay on a device: what the same calls give of arrays, in one submission; and what is refused."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import BFLOAT16, TYPES
from test_calls import CASES, INFOS, arrays_of, shape_of

import wgpu_activations as wa

RANDOM = np.random.default_rng(17)


@pytest.fixture(scope="module")
def gpu():
    try:
        return wa.Backend("gpu")
    except wa.DeviceError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no GPU adapter: {error}")


@pytest.fixture
def device(gpu):
    """A device, with its backend as that of the calls on arrays."""
    with wa.use(gpu), wa.Device(gpu) as opened:
        yield opened


def numbers(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def close(got, want):
    assert got.shape == np.shape(want) and got.dtype == np.asarray(want).dtype
    np.testing.assert_allclose(got.astype(np.float32), np.asarray(want, np.float32), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name, number", CASES)
def test_every_function_gives_what_it_gives_of_arrays(device, name, number):
    info = INFOS[name]
    form = info["forms"][number]
    arrays = arrays_of(form, shape_of(info))
    f = getattr(wa, name)
    want = f(*arrays)
    # Classes are arrays beside tensors, which the host checks.
    tensors = [array if array.dtype.kind == "i" else device.array(array) for array in arrays]
    y = f(*tensors)
    assert isinstance(y, wa.Tensor) and y.device is device and y.dtype == np.float32
    assert y.shape == want.shape
    close(y.numpy(), want)
    # Arrays beside tensors go to the device.
    close(f(tensors[0], *arrays[1:]).numpy(), want)
    if len(arrays) > 1 and arrays[1].dtype.kind != "i":
        close(f(arrays[0], *tensors[1:]).numpy(), want)

    dy = RANDOM.normal(size=want.shape).astype(np.float32)
    every = wa.grads(f, tuple(arrays), dy)
    got = wa.grads(f, tuple(tensors), device.array(dy))
    assert list(got) == list(every)
    for by, gradient in got.items():
        close(gradient.numpy(), every[by])
    close(wa.grad(f, *tensors, dy).numpy(), wa.grad(f, *arrays, dy))
    value, slope = wa.value_and_grad(f, *tensors)
    close(value.numpy(), want)
    close(slope.numpy(), wa.value_and_grad(f, *arrays)[1])
    if not want.ndim:
        close(wa.grad(f, *tensors).numpy(), wa.grad(f, *arrays))
        every = wa.grads(f, tuple(arrays))
        for by, gradient in wa.grads(f, tuple(tensors)).items():
            close(gradient.numpy(), every.pop(by))
        assert not every
    if info["from_output"]:
        again = wa.grad(f, y, dy, from_output=True)
        close(again.numpy(), wa.grad(f, want, dy, from_output=True))
    else:
        with pytest.raises(ValueError, match="not accurate from its output"):
            wa.grad(f, y, dy if want.ndim else np.float32(1), from_output=True)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", ["gelu", "softmax", "logsumexp", "swiglu"])
def test_16_bits_stay_what_they_are(device, name, dtype):
    x = (np.round(numbers(6, 4) * 8) / 8).astype(dtype)
    t = device.array(x)
    y = wa.function(name)(t)
    assert t.dtype == y.dtype == dtype
    np.testing.assert_array_equal(t.numpy(), x)
    want = wa.function(name)(x)
    assert y.numpy().dtype == dtype
    # Kernels of 16 bits may round a tie otherwise.
    np.testing.assert_allclose(
        y.numpy().astype(np.float32), want.astype(np.float32), rtol=2**-7 if dtype == BFLOAT16 else 2**-10
    )
    assert wa.grad(name, t, np.ones(want.shape, dtype)).dtype == dtype


def test_arrays_that_may_be_missing(device):
    x, dy = numbers(2, 3, 5, 4), numbers(2, 3, 5, 4)
    options = {
        "mask": RANDOM.random((2, 1, 5, 4)) < 0.8,
        "bias": numbers(3, 5, 4),
        "lengths": np.array([3, 4], np.uint32),
        "sinks": numbers(3, 1, 1),
        "scale": 0.5,
        "causal": True,
        "axis": -1,
    }
    t = device.array(x)
    close(wa.softmax(t, **options).numpy(), wa.softmax(x, **options))
    close(wa.softmax(t, mask=options["mask"]).numpy(), wa.softmax(x, mask=options["mask"]))
    resident = {**options, "bias": device.array(options["bias"]), "sinks": device.array(options["sinks"])}
    close(wa.softmax(t, **resident).numpy(), wa.softmax(x, **options))
    want, got = wa.grads("softmax", x, dy, **options), wa.grads("softmax", t, dy, **resident)
    assert list(got) == list(want) == ["input", "sinks"]
    for by, gradient in got.items():
        np.testing.assert_allclose(gradient.numpy(), want[by], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_weights_and_classes_of_losses(device, reduction):
    x, q = numbers(6, 4), RANDOM.random((6, 4)).astype(np.float32)
    t, tq = device.array(x), device.array(q)
    weight = np.float32([1, 2, 0.5, 3])
    classes = np.array([0, 3, -100, 2, 1, 0])
    options = {"weight": weight, "reduction": reduction}
    for targets in (classes, classes.astype(np.int32), classes[:, None], q):
        if targets is not q:
            close(wa.nll_loss(t, targets, **options).numpy(), wa.nll_loss(x, targets, **options))
        close(wa.cross_entropy(t, targets, **options).numpy(), wa.cross_entropy(x, targets, **options))
    value, slope = wa.value_and_grad("cross_entropy", t, classes, label_smoothing=0.1, **options)
    want = wa.value_and_grad("cross_entropy", x, classes, label_smoothing=0.1, **options)
    close(value.numpy(), want[0])
    close(slope.numpy(), want[1])
    for all_of in (weight, numbers(6, 1), np.float32(2)):
        options = {"weight": all_of, "pos_weight": weight, "reduction": reduction}
        close(wa.bce_with_logits(t, tq, **options).numpy(), wa.bce_with_logits(x, q, **options))


def test_random_numbers_are_the_same(device):
    x = numbers(6, 4)
    t = device.array(x)
    close(wa.rrelu(t, seed=7, offset=3).numpy(), wa.rrelu(x, seed=7, offset=3))
    close(wa.gumbel_softmax(t, seed=7).numpy(), wa.gumbel_softmax(x, seed=7))


def test_several_operations_are_one_submission(device):
    x, keep = numbers(6, 4), np.array([True, False, True, True])
    t, dy = device.array(x), device.array(numbers(6, 4))
    wa.softmax(wa.gelu(t), axis=-1).numpy()
    # One to read, of which the batch before is another one.
    before = device.submissions
    t.numpy()
    reading = device.submissions - before
    before = device.submissions
    p = wa.softmax(wa.gelu(t), axis=-1)
    for _ in range(20):
        p = wa.grad("silu", wa.tanh(p), dy)
    assert device.submissions == before
    p.numpy()
    assert device.submissions == before + 1 + reading
    # What is there is not computed again.
    p.numpy()
    assert device.submissions == before + 1 + 2 * reading
    wa.gelu(p)
    device.submit()
    device.submit()
    assert device.submissions == before + 2 + 2 * reading
    masked = wa.softmax(t, axis=-1, mask=keep)
    close(masked.numpy(), wa.softmax(x, axis=-1, mask=keep))


def test_many_operations_are_submitted_on_the_way(device):
    t = device.array(np.full(4, 3, np.float32))
    before = device.submissions
    for _ in range(1500):
        t = wa.relu(t)
    assert device.submissions > before
    np.testing.assert_array_equal(t.numpy(), 3)
    # Four results of 64 MB each are as much as a batch holds.
    large = device.array(np.full(16 << 20, 3, np.float32))
    before = device.submissions
    for _ in range(3):
        wa.relu(large)
    assert device.submissions == before
    wa.relu(large)
    assert device.submissions == before + 1


def test_results_go_where_they_are_wanted(device):
    x, slope = numbers(6, 4), numbers(4)
    t = device.array(x)
    out = device.array(np.zeros((6, 4), np.float32))
    assert wa.gelu(t, out=out) is out
    close(out.numpy(), wa.gelu(x))
    # Over an input, also beside another one.
    own = device.array(x)
    assert wa.prelu(own, slope, out=own) is own
    close(own.numpy(), wa.prelu(x, slope))
    assert wa.gelu(own, out=own) is own
    close(own.numpy(), wa.gelu(wa.prelu(x, slope)))
    # In another type, rounded once.
    half = device.array(np.zeros((6, 4), np.float16))
    wa.softmax(t, out=half)
    np.testing.assert_array_equal(half.numpy(), wa.softmax(x, out=np.zeros((6, 4), np.float16)))
    wa.softmax(half.numpy(), out=out)
    np.testing.assert_array_equal(out.numpy(), wa.softmax(half.numpy(), out=np.zeros((6, 4), np.float32)))
    with pytest.raises(ValueError, match="the output"):
        wa.logsumexp(t, out=out)
    with pytest.raises(TypeError, match="out is no tensor"):
        wa.gelu(t, out=np.zeros((6, 4), np.float32))
    # What is read before is read as it was.
    before = wa.relu(t)
    wa.tanh(t, out=t)
    close(before.numpy(), np.maximum(x, 0))


def test_chains(device):
    x, bias, residual, dy = numbers(6, 4), numbers(4), numbers(6, 4), numbers(6, 4)
    c = wa.chain("scale(0.5) | bias(axis=1) | gelu | add | softmax(axis=-1) | dropout(0.5, seed=7)")
    t, tb, tr = map(device.array, (x, bias, residual))
    before = device.submissions
    y = c(t, tb, tr)
    assert device.submissions == before
    close(y.numpy(), c(x, bias, residual))
    close(c(t, bias, residual).numpy(), c(x, bias, residual))
    want, got = c.grad(x, bias, residual, dy=dy), c.grad(t, tb, residual, dy=dy)
    assert len(want) == len(got) == 3
    for one, other in zip(got, want):
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-5, atol=1e-6)
    assert c(t, bias, residual, out=t) is t
    close(t.numpy(), c(x, bias, residual))
    half = device.array(x.astype(np.float16))
    assert c(half, bias, residual).dtype == np.float16
    assert c(half, bias, residual, out=tr) is tr
    np.testing.assert_allclose(tr.numpy(), c(x.astype(np.float16).astype(np.float32), bias, residual), rtol=1e-6)
    with pytest.raises(ValueError, match="takes 2 operands"):
        c(t, tb)
    with pytest.raises(ValueError, match=r"out has the shape \[4\]"):
        c(t, tb, residual, out=tb)
    with pytest.raises(TypeError, match="out is no tensor"):
        c(t, tb, residual, out=np.zeros_like(x))


def test_a_tensor_is_an_array_to_others(device):
    x = numbers(6, 4)
    t = device.array(x)
    assert t.shape == (6, 4) and len(t) == 6 and t.dtype == np.dtype(np.float32)
    assert repr(t) == "<wgpu_activations tensor f32 [6, 4]>"
    assert repr(device).startswith("<wgpu_activations device ") and device.description in repr(device)
    np.testing.assert_array_equal(np.asarray(t), x)
    assert np.asarray(t, np.float64).dtype == np.float64
    assert np.array(t, copy=True).base is None
    with pytest.raises(ValueError, match="which is a copy"):
        t.__array__(copy=False)
    np.testing.assert_array_equal(t + x, x + x)
    assert wa.inspect(t, "relu").units == 4
    number = wa.logsumexp(device.array(x[0]))
    assert number.shape == () and isinstance(number.numpy(), np.float32)
    assert np.asarray(number).shape == ()
    with pytest.raises(TypeError, match="has no length"):
        len(number)
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(t)
    # Of nothing, of other types, of strides.
    assert wa.gelu(device.array(np.zeros((0, 4), np.float32))).numpy().shape == (0, 4)
    np.testing.assert_array_equal(device.array([1, 2]).numpy(), np.float32([1, 2]))
    np.testing.assert_array_equal(device.array(x[::2, ::-1]).numpy(), x[::2, ::-1])
    np.testing.assert_array_equal(device.array(t).numpy(), x)


def test_mistakes(device, gpu):
    x = numbers(2, 3)
    t = device.array(x)
    with wa.Device(gpu) as second:
        other = second.array(x)
        for call in (
            lambda: wa.glu(t, other),
            lambda: wa.grad("gelu", t, other),
            lambda: wa.gelu(t, out=other),
            lambda: wa.chain("add")(t, other),
        ):
            with pytest.raises(ValueError, match="is a tensor of another device"):
                call()
    for call, error, words in (
        (lambda: wa.Device("cpu"), wa.DeviceError, "the CPU has no tensors"),
        (lambda: wa.Device(wa.Backend("cpu")), wa.DeviceError, "the CPU has no tensors"),
        (lambda: wa.Device("no such adapter"), wa.DeviceError, "no such adapter"),
        (lambda: wa.Device(3.5), TypeError, "an adapter's name, or a backend"),
        (lambda: device.array(x.astype(np.float64)), TypeError, "astype"),
        (lambda: device.array("gelu"), TypeError, "no real numbers"),
        (lambda: wa.softmax(t, axis=2), ValueError, "axis 2"),
        (lambda: wa.softmax(t, mask=t), TypeError, "mask of softmax is an array, which goes to the device"),
        (lambda: wa.softmax(t, mask=np.ones((3, 3), bool)), ValueError, "does not broadcast"),
        (lambda: wa.gelu(t, t), TypeError, "takes input; it was given 2"),
        (lambda: wa.glu(t, x[:1]), ValueError, "gate"),
        (lambda: wa.prelu(t, numbers(2)), ValueError, "slope"),
        (lambda: wa.grad("gelu", t), TypeError, r"takes dy.*of that shape"),
        (lambda: wa.grads("gelu", t), TypeError, r"takes dy.*of that shape"),
        (lambda: wa.grad("gelu", t, x[:1]), ValueError, "upstream gradient"),
        (lambda: wa.grad("softmax", t, from_output=True), TypeError, "takes the output and dy"),
        (lambda: wa.cross_entropy(t, [0, 3]), ValueError, "the target of row 1 is 3"),
        (lambda: wa.cross_entropy(t, [0]), ValueError, "targets"),
        (lambda: wa.cross_entropy(device.array(numbers(3, 3, 2)), np.zeros((2, 3), int)), ValueError, "the targets"),
        (lambda: wa.cross_entropy(t, [0, 1], weight=t), TypeError, "weight of cross_entropy is an array beside"),
        (lambda: wa.cross_entropy(t, [0, 1], weight=[1.0]), ValueError, "class weight"),
        (lambda: wa.nll_loss(t, t), TypeError, "class indices"),
        (lambda: wa.bce_with_logits(t, t, weight=numbers(3, 3)), ValueError, "broadcast"),
    ):
        with pytest.raises(error, match=words):
            call()
    # None of it hurts.
    close(wa.gelu(t).numpy(), wa.gelu(x))


def test_a_closed_device(gpu):
    with wa.Device(gpu) as device:
        t = device.array(np.float32([1, -1]))
        wa.gelu(t)
        y = wa.relu(t)
        assert not device.closed
    assert device.closed
    for call in (
        lambda: wa.gelu(t),
        lambda: wa.grad("gelu", t, t),
        lambda: wa.chain("gelu")(t),
        lambda: y.numpy(),
        lambda: np.asarray(t),
        lambda: device.array([1.0]),
        lambda: device.submit(),
        lambda: device.submissions,
    ):
        with pytest.raises(wa.DeviceError, match="the device was closed"):
            call()
    device.close()
    assert repr(t) and t.shape == (2,) and len(t) == 2


def test_a_device_of_its_own(gpu):
    with wa.Device() as device:
        assert wa.relu(device.array([-1.0, 2.0])).numpy().tolist() == [0, 2]
        name = device.description.split(" on ")[0]
    with wa.Device(name) as device:
        assert device.description.startswith(name)


def test_threads_share_a_device(device):
    arrays = [numbers(64, 50 + i) for i in range(8)]
    names = ["gelu", "softmax", "logsumexp", "silu"]
    want = {(name, i): wa.function(name)(x) for name in names for i, x in enumerate(arrays)}

    def work(job):
        name, i = job
        close(wa.function(name)(wa.identity(device.array(arrays[i]))).numpy(), want[job])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, list(want) * 3))


def test_the_lock_is_released_while_a_tensor_is_read(device):
    t = device.array(numbers(1000, 1000))
    counted, stop = 0, threading.Event()

    def count():
        nonlocal counted
        while not stop.is_set():
            counted += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=count)
    thread.start()
    for _ in range(20):
        t = wa.entmax(t, alpha=1.7)
    begin = counted
    t.numpy()
    during = counted - begin
    stop.set()
    thread.join()
    assert during > 3


def run(code):
    code = textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork_a_use_is_an_error(gpu):
    done = run("""
        import os, sys, numpy as np, wgpu_activations as wa
        backend = wa.Backend("gpu")
        device = wa.Device()
        t = device.array(np.ones(1000, np.float32))
        y = wa.gelu(t)
        child = os.fork()
        if child == 0:
            for call in (lambda: wa.gelu(t), lambda: y.numpy(), lambda: device.array(1.0), lambda: wa.Device()):
                try:
                    call()
                except wa.DeviceError as error:
                    print(error, flush=True)
            # Nobody waits for the parent's threads. Drivers do where the process exits otherwise (Mesa's software
            # adapter, in a handler of exit).
            device.close()
            del t, y, device, backend
            os._exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), y.numpy()[0])
    """)
    assert done.stdout.count("'spawn'") == 4 and "\n3 0.84" in done.stdout, done


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_an_interrupt_is_seen_within_a_second(gpu):
    code = textwrap.dedent("""
        import signal, numpy as np, wgpu_activations as wa
        # A job of a shell's background ignores it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        device = wa.Device()
        t = device.array(np.random.default_rng(1).normal(size=(2000, 1000)).astype(np.float32))
        wa.entmax(t, alpha=1.7).numpy()
        print("ready", flush=True)
        try:
            while True:
                y = t
                for _ in range(30):
                    y = wa.entmax(y, alpha=1.7)
                y.numpy()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.5)
    begin = time.perf_counter()
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "interrupted\n"
    took = time.perf_counter() - begin
    child.wait(60)
    assert took < 1.0
