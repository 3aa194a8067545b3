"""Writes losses.jsonl: PyTorch's losses by the formulas of its own source, in f64.

The formulas are those of ATen's LossNLL.cpp (cross_entropy_loss_prob_target,
cross_entropy_loss_label_smoothing, nll_loss_forward) and Loss.cpp
(binary_cross_entropy, binary_cross_entropy_with_logits), transcribed line by line with numpy;
gradients are central differences of them with a step of 1e-5. Run: python3 losses.py > losses.jsonl
"""

import json

import numpy as np

rng = np.random.default_rng(20)


def log_softmax(x):
    m = x.max(axis=1, keepdims=True)
    return x - m - np.log(np.exp(x - m).sum(axis=1, keepdims=True))


def classes_last(x):
    return np.moveaxis(x, 1, -1)


def nll_loss(x, target, weight, reduction, ignore_index):
    rows = classes_last(x).reshape(-1, x.shape[1])
    t = target.reshape(-1)
    loss, total = np.zeros(len(t)), 0.0
    for i, class_ in enumerate(t):
        if class_ == ignore_index:
            continue
        w = 1.0 if weight is None else weight[class_]
        loss[i] = -w * rows[i, class_]
        total += w
    if reduction == "none":
        return loss.reshape(target.shape)
    return loss.sum() if reduction == "sum" else np.float64(loss.sum()) / np.float64(total)


def with_smoothing(x, target, weight, reduction, ignore_index, smoothing):
    n_classes = x.shape[1]
    log_p = log_softmax(x)
    nll = nll_loss(log_p, target, weight, reduction, ignore_index)
    w = np.ones(n_classes) if weight is None else weight
    smooth = -(classes_last(log_p) * w).sum(axis=-1)
    ignored = target == ignore_index
    smooth[ignored] = 0.0
    if reduction == "mean":
        if weight is not None:
            smooth = smooth.sum() / weight[target[~ignored]].sum()
        else:
            smooth = smooth.sum() / np.float64((~ignored).sum())
    elif reduction == "sum":
        smooth = smooth.sum()
    return (1 - smoothing) * nll + smooth * (smoothing / n_classes)


def prob_target(x, target, weight, reduction, smoothing):
    n_classes = x.shape[1]
    log_p = log_softmax(x)
    if smoothing > 0.0:
        target = target * (1 - smoothing) + smoothing / n_classes
    w = np.ones(n_classes) if weight is None else weight
    terms = -(classes_last(log_p) * classes_last(target) * w)
    if reduction == "none":
        return terms.sum(axis=-1)
    if reduction == "sum":
        return terms.sum()
    return terms.sum() / (x.size / n_classes)


def bce_with_logits(x, target, weight, pos_weight, reduction):
    log_sigmoid = np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))
    if pos_weight is not None:
        log_weight = (pos_weight - 1) * target + 1
        loss = (1 - target) * x - log_weight * log_sigmoid
    else:
        loss = (1 - target) * x - log_sigmoid
    if weight is not None:
        loss = loss * weight
    return loss if reduction == "none" else loss.sum() if reduction == "sum" else loss.mean()


def bce(x, target, weight, reduction):
    with np.errstate(divide="ignore"):
        log, log1 = np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)
    loss = (target - 1) * log1 - target * log
    if weight is not None:
        loss = loss * weight
    return loss if reduction == "none" else loss.sum() if reduction == "sum" else loss.mean()


def f32(values):
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def gradient(loss, x):
    """Of the sum of the loss, by central differences."""
    dx = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = 1e-5
        dx[i] = (np.sum(loss(x + step)) - np.sum(loss(x - step))) / 2e-5
    return dx


def write(name, shape, x, loss, differentiable=True, **fields):
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.asarray(loss(x)).reshape(-1)
        dx = gradient(loss, x).reshape(-1) if differentiable else []
    numbers = lambda a: [None if np.isnan(v) else float(v) for v in np.asarray(a).reshape(-1)]
    case = {"function": name, "shape": list(shape), "x": numbers(x)}
    for key, field in fields.items():
        if isinstance(field, np.ndarray):
            field = [v.item() for v in field.reshape(-1)]
        if field is not None:
            case[key] = field
    case["loss"] = numbers(value)
    case["gradient"] = numbers(dx)
    print(json.dumps(case))


for shape in [(3, 5), (2, 4, 3)]:
    rows = (shape[0],) + shape[2:]
    weight = f32(rng.uniform(0.2, 3, shape[1]))
    for reduction in ["none", "mean", "sum"]:
        for w in [None, weight]:
            for smoothing in [0.0, 0.125]:
                for ignore in [-100, 1, "all"]:
                    x = f32(rng.normal(0, 2, shape))
                    t = rng.integers(0, shape[1], rows)
                    t[0] = 1
                    if ignore == "all":
                        t[:] = -100
                    index = -100 if ignore == "all" else ignore
                    write(
                        "cross_entropy", shape, x,
                        lambda x: with_smoothing(x, t, w, reduction, index, smoothing),
                        differentiable=ignore != "all",
                        classes=t, weight=w, smoothing=smoothing, ignore_index=index,
                        reduction=reduction,
                    )
                q = f32(rng.uniform(0, 1, shape))
                x = f32(rng.normal(0, 2, shape))
                write(
                    "cross_entropy", shape, x,
                    lambda x: prob_target(x, q, w, reduction, smoothing),
                    probabilities=q, weight=w, smoothing=smoothing, ignore_index=-100,
                    reduction=reduction,
                )
            x = f32(rng.normal(-2, 1, shape))
            t = rng.integers(0, shape[1], rows)
            write(
                "nll_loss", shape, x, lambda x: nll_loss(x, t, w, reduction, 1),
                classes=t, weight=w, smoothing=0.0, ignore_index=1, reduction=reduction,
            )
for reduction in ["none", "mean", "sum"]:
    for w in [None, f32([0.5, 1.5, 2.0])]:
        for p in [None, f32([3.0, 0.25, 1.0])]:
            x, t = f32(rng.normal(0, 4, (4, 3))), f32(rng.uniform(0, 1, (4, 3)))
            write(
                "binary_cross_entropy_with_logits", (4, 3), x,
                lambda x: bce_with_logits(x, t, w, p, reduction),
                targets=t, weight=w, pos_weight=p, reduction=reduction,
            )
        x = f32(rng.uniform(0.01, 0.99, (4, 3)))
        write(
            "binary_cross_entropy", (4, 3), x, lambda x: bce(x, t, w, reduction),
            targets=t, weight=w, reduction=reduction,
        )
        x = f32([[0.0, 1.0, 1.0], [0.0, 1e-38, 0.5]])
        t2 = f32([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
        write(
            "binary_cross_entropy", (2, 3), x, lambda x: bce(x, t2, w, reduction),
            differentiable=False, targets=t2, weight=w, reduction=reduction,
        )
