"""One library in Python, driven line by line: JSON commands come in on stdin, answers go out on stdout.

    worker.py onnxruntime|jax|torch|torch-compile

{"prepare": {...}} makes a case ready and runs it once; {"time": calls} times calls of it;
{"result": path} writes what the case computes to a file of f32. Arrays are resident before the clock starts.
"""

import json
import os
import sys
import time

import numpy as np

THREADS = int(os.environ.get("PEERS_THREADS", os.cpu_count()))


class Missing(Exception):
    """The library has no such function."""


def onnxruntime():
    """A graph of one node (silu: two, which ONNX Runtime fuses); input and output are bound beforehand."""
    import onnxruntime as ort
    from onnx import TensorProto, helper

    ops = {
        "sigmoid": ("Sigmoid", {}),
        "tanh": ("Tanh", {}),
        "gelu": ("Gelu", {"approximate": "none"}),
        "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
        "softplus": ("Softplus", {}),
        "mish": ("Mish", {}),
        "elu": ("Elu", {"alpha": 1.0}),
        "relu": ("Relu", {}),
        "exp": ("Exp", {}),
        "softmax": ("Softmax", {"axis": -1}),
        "log_softmax": ("LogSoftmax", {"axis": -1}),
    }

    def prepare(function, direction, x, dy):
        if direction != "forward":
            raise Missing("inference only")
        if function == "silu":
            nodes = [
                helper.make_node("Sigmoid", ["x"], ["s"]),
                helper.make_node("Mul", ["x", "s"], ["y"]),
            ]
        elif function in ops:
            op, attributes = ops[function]
            nodes = [helper.make_node(op, ["x"], ["y"], **attributes)]
        else:
            raise Missing("no such operator")
        info = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, list(x.shape))
        graph = helper.make_graph(nodes, "case", [info("x")], [info("y")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.inter_op_num_threads = 1
        # Its threads would spin on into the next library's turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        y = ort.OrtValue.ortvalue_from_shape_and_type(list(x.shape), np.float32, "cpu")
        binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x, "cpu"))
        binding.bind_ortvalue_output("y", y)
        return (lambda: session.run_with_iobinding(binding)), (lambda: y.numpy())

    return ort.__version__, "output given", prepare


def jax():
    """jax.jit of one function; each call allocates its output."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp

    functions = {
        "sigmoid": jax.nn.sigmoid,
        "tanh": jnp.tanh,
        "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
        "silu": jax.nn.silu,
        "softplus": jax.nn.softplus,
        "mish": jax.nn.mish,
        "elu": jax.nn.elu,
        "relu": jax.nn.relu,
        "exp": jnp.exp,
        "softmax": lambda x: jax.nn.softmax(x, axis=-1),
        "log_softmax": lambda x: jax.nn.log_softmax(x, axis=-1),
    }

    def prepare(function, direction, x, dy):
        f = functions.get(function)
        if f is None:
            raise Missing("no such function")
        x, dy = jnp.asarray(x), jnp.asarray(dy)
        if direction == "forward":
            compiled = jax.jit(f)
            call = lambda: compiled(x)
        else:
            compiled = jax.jit(lambda x, dy: jax.vjp(f, x)[1](dy)[0])
            call = lambda: compiled(x, dy)
        return (lambda: call().block_until_ready()), (lambda: np.asarray(call()))

    return jax.__version__, "output allocated", prepare


def torch(compiled=False):
    """Eager mode, or torch.compile of one function; each call allocates its output."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(THREADS)
    # Each a function of its own: compiled code is kept by its text.
    functions = {
        "sigmoid": lambda x: torch.sigmoid(x),
        "tanh": lambda x: torch.tanh(x),
        "gelu": lambda x: F.gelu(x),
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "silu": lambda x: F.silu(x),
        "softplus": lambda x: F.softplus(x),
        "mish": lambda x: F.mish(x),
        "elu": lambda x: F.elu(x),
        "relu": lambda x: torch.relu(x),
        "exp": lambda x: torch.exp(x),
        "softmax": lambda x: torch.softmax(x, -1),
        "log_softmax": lambda x: torch.log_softmax(x, -1),
    }
    known = {}

    def prepare(function, direction, x, dy):
        f = functions.get(function)
        if f is None:
            raise Missing("no such function")
        if compiled:
            # Kept, so that another shape may be taken in without compiling again.
            f = known.setdefault((function, direction), torch.compile(f))
        x, dy = torch.from_numpy(x), torch.from_numpy(dy)
        if direction == "forward":

            def call():
                with torch.no_grad():
                    return f(x)
        else:
            x.requires_grad_()

            def call():
                return torch.autograd.grad(f(x), x, dy)[0]

        return call, (lambda: call().numpy())

    return torch.__version__.split("+")[0], "output allocated", prepare


PEERS = {
    "onnxruntime": onnxruntime,
    "jax": jax,
    "torch": torch,
    "torch-compile": lambda: torch(compiled=True),
}


def main():
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields):
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    try:
        version, how, prepare = PEERS[sys.argv[1]]()
    except ImportError as error:
        answer(missing=str(error).splitlines()[0])
        return
    answer(version=version, how=how)
    call = result = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if "prepare" in command:
                case = command["prepare"]
                shape = (case["rows"], case["columns"])
                x, dy = (np.fromfile(case[name], np.float32)[: shape[0] * shape[1]].reshape(shape) for name in ("x", "dy"))
                call, result = prepare(case["function"], case["direction"], x, dy)
                call()
                answer(ready=True)
            elif "time" in command:
                start = time.perf_counter()
                for _ in range(command["time"]):
                    call()
                answer(seconds=time.perf_counter() - start)
            elif "result" in command:
                np.ascontiguousarray(result(), np.float32).tofile(command["result"])
                answer(ready=True)
        except Missing as why:
            answer(missing=str(why))
        except Exception as error:  # A library's failure is its result here.
            answer(missing=(str(error).splitlines() or [type(error).__name__])[0])


main()
