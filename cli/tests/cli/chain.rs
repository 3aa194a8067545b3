//! `run` and `grad` of chains, against formulas that are written out here in f64.

use crate::support::{Scratch, assert_close, read, words};

/// x.npy of shape [2, 3], bias.npy of shape [3], rest.npy of x's shape.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2, 3], &[-4.0, -1.0, 0.5, 2.0, 8.0, 100.0]);
    scratch.array("bias.npy", &[3], &[1.0, -2.0, 0.25]);
    scratch.array("rest.npy", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    scratch
}

#[test]
fn a_chain_runs_on_files() {
    let scratch = scratch();
    words(
        &scratch,
        "run scale(0.5)|silu|clamp(0,6) {x.npy} -o {y.npy} --backend cpu",
    )
    .ok();
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let want = [-4.0, -1.0, 0.5, 2.0, 8.0, 100.0].map(|x| silu(x * 0.5).clamp(0.0, 6.0));
    let (shape, got) = read(&scratch.path("y.npy"));
    assert_eq!(shape, [2, 3]);
    assert_close(&got, &want, 4.0);

    words(
        &scratch,
        "run bias(-1)|relu|add {x.npy} {bias.npy} {rest.npy} -o {y.npy} --backend cpu",
    )
    .ok();
    let (_, got) = read(&scratch.path("y.npy"));
    assert_eq!(got, [1.0, 2.0, 3.75, 7.0, 11.0, 106.25]);
}

#[test]
fn gradients_are_by_all_inputs() {
    let scratch = scratch();
    words(
        &scratch,
        "grad multiply|bias(1)|relu {x.npy} {rest.npy} {bias.npy} -o {dx.npy} -o {drest.npy} -o {dbias.npy} --backend cpu",
    )
    .ok();
    let of = |name: &str| read(&scratch.path(name));
    assert_eq!(of("dx.npy").1, [0.0, 0.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(of("drest.npy").1, [0.0, 0.0, 0.5, 2.0, 8.0, 100.0]);
    assert_eq!(of("dbias.npy"), (vec![3], vec![1.0, 1.0, 2.0]));
}

#[test]
fn what_is_wrong_is_told() {
    let scratch = scratch();
    for (line, said) in [
        ("run scale(2)|gelo {x.npy} -o {y.npy}", "gelu"),
        ("run scale(2)|gelo {x.npy} -o {y.npy}", "column 10"),
        (
            "run add {x.npy} -o {y.npy}",
            "the chain has 2 inputs (input, add)",
        ),
        (
            "run add {x.npy} {bias.npy} {rest.npy} -o {y.npy}",
            "3 files are given",
        ),
        (
            "run bias(0) {x.npy} {bias.npy} -o {y.npy}",
            "bias of shape [3]",
        ),
        (
            "run relu|gelu {x.npy} -o {y.npy} -p alpha=1",
            "no parameter 'alpha'",
        ),
    ] {
        words(&scratch, line).refused(&[said]);
    }
}
