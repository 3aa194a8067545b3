//! A formula as it is recorded: numbers that note what is done with them, the derivative of the
//! record, and WGSL of both.

use super::number::{Number, sealed};
use crate::shader;
use std::cell::RefCell;
use std::fmt::Write;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// An operation of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unary {
    Neg,
    Abs,
    Sqrt,
    Exp,
    ExpM1,
    Tanh,
    Sigmoid,
    Softplus,
    Erf,
}

/// How a number was made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Node {
    X,
    Parameter(usize),
    /// Its bits, by which it is told from others: also NaN, and the zeros.
    Constant(u64),
    Unary(Unary, Traced),
    Add(Traced, Traced),
    Sub(Traced, Traced),
    Mul(Traced, Traced),
    Div(Traced, Traced),
    /// The third where the first is less than the second, else the fourth.
    Less(Traced, Traced, Traced, Traced),
}

/// A number of a formula that is being recorded: its place in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traced(usize);

thread_local! {
    /// The record that this thread is writing.
    static RECORD: RefCell<Vec<Node>> = const { RefCell::new(Vec::new()) };
}

fn note(node: Node) -> Traced {
    RECORD.with_borrow_mut(|record| {
        // What is there already is that.
        let known = record.iter().position(|other| *other == node);
        Traced(known.unwrap_or_else(|| {
            record.push(node);
            record.len() - 1
        }))
    })
}

fn node(of: Traced) -> Node {
    RECORD.with_borrow(|record| record[of.0])
}

fn constant_of(of: Traced) -> Option<f64> {
    match node(of) {
        Node::Constant(bits) => Some(f64::from_bits(bits)),
        _ => None,
    }
}

impl Neg for Traced {
    type Output = Self;
    fn neg(self) -> Self {
        match constant_of(self) {
            Some(value) => Self::constant(-value),
            None => note(Node::Unary(Unary::Neg, self)),
        }
    }
}
impl Add for Traced {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        match (constant_of(self), constant_of(o)) {
            (Some(a), Some(b)) => Self::constant(a + b),
            (Some(0.0), _) => o,
            (_, Some(0.0)) => self,
            _ => note(Node::Add(self, o)),
        }
    }
}
impl Sub for Traced {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        match (constant_of(self), constant_of(o)) {
            (Some(a), Some(b)) => Self::constant(a - b),
            (Some(0.0), _) => -o,
            (_, Some(0.0)) => self,
            _ => note(Node::Sub(self, o)),
        }
    }
}
impl Mul for Traced {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        match (constant_of(self), constant_of(o)) {
            (Some(a), Some(b)) => Self::constant(a * b),
            // A derivative that is 0 stays 0.
            (Some(0.0), _) | (_, Some(0.0)) => Self::constant(0.0),
            (Some(1.0), _) => o,
            (_, Some(1.0)) => self,
            _ => note(Node::Mul(self, o)),
        }
    }
}
impl Div for Traced {
    type Output = Self;
    fn div(self, o: Self) -> Self {
        match (constant_of(self), constant_of(o)) {
            (Some(a), Some(b)) => Self::constant(a / b),
            (Some(0.0), _) => self,
            (_, Some(1.0)) => self,
            _ => note(Node::Div(self, o)),
        }
    }
}

impl sealed::Sealed for Traced {}

impl Number for Traced {
    fn constant(value: f64) -> Self {
        note(Node::Constant(value.to_bits()))
    }
    fn less(self, other: Self, yes: Self, no: Self) -> Self {
        if yes == no {
            return yes;
        }
        note(Node::Less(self, other, yes, no))
    }
    fn abs(self) -> Self {
        note(Node::Unary(Unary::Abs, self))
    }
    fn sqrt(self) -> Self {
        note(Node::Unary(Unary::Sqrt, self))
    }
    fn exp(self) -> Self {
        note(Node::Unary(Unary::Exp, self))
    }
    fn exp_m1(self) -> Self {
        note(Node::Unary(Unary::ExpM1, self))
    }
    fn tanh(self) -> Self {
        note(Node::Unary(Unary::Tanh, self))
    }
    fn sigmoid(self) -> Self {
        note(Node::Unary(Unary::Sigmoid, self))
    }
    fn softplus(self) -> Self {
        note(Node::Unary(Unary::Softplus, self))
    }
    fn erf(self) -> Self {
        note(Node::Unary(Unary::Erf, self))
    }
}

/// WGSL functions `name` and `name_grad` of x and so many parameters, from a formula; or just the
/// second.
pub(super) fn wgsl(
    name: &str,
    parameters: usize,
    gradient_alone: bool,
    formula: impl FnOnce(Traced, &[Traced]) -> Traced,
) -> String {
    RECORD.with_borrow_mut(Vec::clear);
    let x = note(Node::X);
    let p: Vec<Traced> = (0..parameters).map(|i| note(Node::Parameter(i))).collect();
    let value = formula(x, &p);
    let slope = slope_of(value);
    let record = RECORD.take();
    let arguments: String = (0..parameters).map(|i| format!(", p{i}: f32")).collect();
    let function = |name: &str, result: Traced| {
        let mut body = String::new();
        let used = used_by(&record, result);
        for (i, node) in record.iter().enumerate().filter(|(i, _)| used[*i]) {
            let _ = writeln!(body, "    let t{i} = {};", expression(*node));
        }
        format!(
            "fn {name}(x: f32{arguments}) -> f32 {{\n{body}    return t{};\n}}\n",
            result.0
        )
    };
    let gradient = function(&format!("{name}_grad"), slope);
    match gradient_alone {
        true => gradient,
        false => function(name, value) + &gradient,
    }
}

/// The derivative by x, by the rules for each operation. Operations are noted behind what they
/// are of, so that one pass in order finds all.
fn slope_of(value: Traced) -> Traced {
    let mut slopes: Vec<Traced> = Vec::new();
    for i in 0..=value.0 {
        let one = Traced(i);
        let c = Traced::constant;
        let d = |of: Traced| slopes[of.0];
        slopes.push(match node(one) {
            Node::X => c(1.0),
            Node::Parameter(_) | Node::Constant(_) => c(0.0),
            Node::Add(a, b) => d(a) + d(b),
            Node::Sub(a, b) => d(a) - d(b),
            Node::Mul(a, b) => d(a) * b + a * d(b),
            Node::Div(a, b) => d(a) / b - d(b) * (one / b),
            Node::Less(a, b, yes, no) => a.less(b, d(yes), d(no)),
            Node::Unary(operation, a) => match operation {
                Unary::Neg => -d(a),
                Unary::Abs => a.less(c(0.0), -d(a), d(a)),
                Unary::Sqrt => d(a) * (c(0.5) / one),
                Unary::Exp => d(a) * one,
                Unary::ExpM1 => d(a) * a.exp(),
                Unary::Tanh => {
                    // 1 - tanh² without cancellation.
                    let double = a + a;
                    d(a) * (c(4.0) * (double.sigmoid() * (-double).sigmoid()))
                }
                Unary::Sigmoid => d(a) * (one * (-a).sigmoid()),
                Unary::Softplus => d(a) * a.sigmoid(),
                Unary::Erf => d(a) * (c(std::f64::consts::FRAC_2_SQRT_PI) * (-(a * a)).exp()),
            },
        });
    }
    slopes[value.0]
}

/// Which of the record's numbers a result is made from.
fn used_by(record: &[Node], result: Traced) -> Vec<bool> {
    let mut used = vec![false; record.len()];
    used[result.0] = true;
    // What is made lies behind what it is made from, but for slopes of constants, which are none.
    for i in (0..record.len()).rev().filter(|&i| i <= result.0) {
        if !used[i] {
            continue;
        }
        let parts = match record[i] {
            Node::X | Node::Parameter(_) | Node::Constant(_) => vec![],
            Node::Unary(_, a) => vec![a],
            Node::Add(a, b) | Node::Sub(a, b) | Node::Mul(a, b) | Node::Div(a, b) => vec![a, b],
            Node::Less(a, b, yes, no) => vec![a, b, yes, no],
        };
        for part in parts {
            used[part.0] = true;
        }
    }
    used
}

/// A node in WGSL; the functions are math.wgsl's.
fn expression(node: Node) -> String {
    let t = |of: Traced| format!("t{}", of.0);
    match node {
        Node::X => "x".to_owned(),
        Node::Parameter(i) => format!("p{i}"),
        // A number beyond the largest f32 is no infinity.
        Node::Constant(bits) => {
            let value = f64::from_bits(bits);
            let near = match value.is_finite() {
                true => value.clamp(f32::MIN.into(), f32::MAX.into()),
                false => value,
            };
            shader::literal(near as f32, "")
        }
        Node::Add(a, b) => format!("{} + {}", t(a), t(b)),
        Node::Sub(a, b) => format!("{} - {}", t(a), t(b)),
        Node::Mul(a, b) => format!("{} * {}", t(a), t(b)),
        Node::Div(a, b) => format!("ratio({}, {})", t(a), t(b)),
        Node::Less(a, b, yes, no) => {
            format!("select({}, {}, {} < {})", t(no), t(yes), t(a), t(b))
        }
        Node::Unary(operation, a) => {
            let a = t(a);
            match operation {
                Unary::Neg => format!("-{a}"),
                Unary::Abs => format!("abs({a})"),
                Unary::Sqrt => format!("square_root({a})"),
                Unary::Exp => format!("exp_sum({a}, 0.0)"),
                Unary::ExpM1 => format!("expm1_sum({a}, 0.0)"),
                Unary::Tanh => format!("tanh_f32({a})"),
                Unary::Sigmoid => format!("sigmoid_sum({a}, 0.0)"),
                Unary::Softplus => format!("at_least({a}, 0.0) + log1p_exp(-abs({a}), 0.0)"),
                Unary::Erf => format!("erf_f32({a})"),
            }
        }
    }
}
