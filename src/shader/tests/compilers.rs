//! What naga takes and translates, and compilers behind it refuse or get wrong.

use super::{modules, row_chain, spelled, try_validate, validate};
use naga::{Expression, Function, Handle, MathFunction, Module, TypeInner, UnaryOperator};

fn all_modules() -> Vec<(String, String)> {
    let mut modules = modules();
    modules.extend(row_chain::modules());
    modules
}

/// The names of a module's types that are no structs.
fn aliases(module: &Module) -> Vec<&str> {
    let types = module.types.iter().map(|(_, ty)| ty);
    let plain = types.filter(|ty| !matches!(ty.inner, TypeInner::Struct { .. }));
    plain.filter_map(|ty| ty.name.as_deref()).collect()
}

/// naga takes an alias for another type than the one that it names, and translates it so.
#[test]
fn no_type_has_two_names() {
    for (name, text) in all_modules() {
        let (module, _) = validate(&text);
        assert_eq!(aliases(&module), [""; 0], "{name}");
    }
    let text = "\nalias Four = array<f32, 4>;\nalias Fours = array<Four, 2>;\n\
                fn first(x: Fours, FourA: f32) -> f32 {\n    return x[0][0] + FourA;\n}\n";
    assert_eq!(aliases(&validate(text).0), ["Four", "Fours"]);
    let text = spelled(text);
    assert_eq!(aliases(&validate(&text).0), [""; 0]);
    assert!(
        text.contains("x: array<array<f32, 4>, 2>, FourA: f32"),
        "{text}"
    );
}

/// An expression without the negations and magnitudes that an instruction's operands may have.
fn bare(function: &Function, mut handle: Handle<Expression>) -> Handle<Expression> {
    loop {
        handle = match function.expressions[handle] {
            Expression::Unary {
                op: UnaryOperator::Negate,
                expr,
            } => expr,
            Expression::Math {
                fun: MathFunction::Abs,
                arg,
                ..
            } => arg,
            _ => return handle,
        };
    }
}

/// Pairs of choices of a function that FXC makes one exchange of, which it gets wrong where either
/// value is negated: `select(b, a, c)` beside `select(a, b, c)`, and of `x` and `-x`.
fn exchanges(function: &Function) -> usize {
    let chosen = function.expressions.iter().filter_map(|(_, expression)| {
        let &Expression::Select {
            condition,
            accept,
            reject,
        } = expression
        else {
            return None;
        };
        Some((condition, bare(function, accept), bare(function, reject)))
    });
    let chosen: Vec<_> = chosen.collect();
    let exchanged =
        |&&(condition, accept, reject): &&_| chosen.contains(&(condition, reject, accept));
    chosen.iter().filter(exchanged).count()
}

#[test]
fn nothing_is_chosen_twice() {
    let count = |module: &Module| -> usize {
        let functions = module.functions.iter().map(|(_, function)| function);
        let entries = module.entry_points.iter().map(|entry| &entry.function);
        functions.chain(entries).map(exchanges).sum()
    };
    for (name, text) in all_modules() {
        assert_eq!(count(&validate(&text).0), 0, "{name}");
    }
    for body in [
        "let c = a < b; return select(a, b, c) - 2.0 * select(b, -a, c);",
        "return select(a, -a, b < 0.0);",
    ] {
        let text = format!("fn f(a: f32, b: f32) -> f32 {{\n    {body}\n}}\n");
        assert!(count(&try_validate(&text).unwrap().0) > 0, "{body}");
    }
}
