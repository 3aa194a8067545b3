//! What a compiler with fast math cannot see through must be in the text that naga writes: bit
//! tests, splits, and sums that pass through `settled`. And nothing that fast math changes: no
//! built-in function that it makes worse, no test for NaN that it assumes away.

use naga::{Expression, Function, Literal, MathFunction, Module, Scalar, ScalarKind, Statement};
use naga::{TypeInner, valid::FunctionInfo, valid::ModuleInfo};
use std::collections::HashMap;
use std::ops::AddAssign;

/// A language whose compilers may use fast math, by how it names a cast of bits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Language {
    Metal,
    Hlsl,
    Glsl,
}

impl Language {
    fn casts(self) -> &'static [&'static str] {
        match self {
            Self::Metal => &["as_type<"],
            Self::Hlsl => &["asuint(", "asfloat(", "asint("],
            Self::Glsl => &[
                "floatBitsToUint(",
                "floatBitsToInt(",
                "uintBitsToFloat(",
                "intBitsToFloat(",
            ],
        }
    }
}

/// What the functions that all else stands on do, whatever the module says: the masks are
/// 0x7fffffff and 0x7f800000.
const NAMED: [(&str, &[&str]); 4] = [
    // Comparisons, so that NaN is kept.
    ("at_most", &["> bound"]),
    ("at_least", &["< bound"]),
    ("settled", &["= opaque_zero;", ") ^ _"]),
    ("is_nan", &["& 2147483647u", "> 2139095040u"]),
];

/// What must not be called: it may be inexact, or undefined for NaN, where fast math is on; or
/// naga chose a variant for us.
const REFUSED: [&str; 13] = [
    "fast::",
    "precise::",
    "isnan(",
    "isinf(",
    "isfinite(",
    "isnormal(",
    "mad(",
    "rcp(",
    "fma(",
    "rsqrt(",
    "exp2(",
    "log2(",
    "pow(",
];

/// The built-in functions over floats that are exact in any mode, the maximum and minimum but of
/// NaN; and the square root, whose error the formulas that use it allow for.
fn is_allowed(function: MathFunction) -> bool {
    use MathFunction::{Abs, Floor, Max, Min, Sqrt};
    matches!(function, Abs | Floor | Max | Min | Sqrt)
}

/// What a function of the module does that must be found again in the text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    /// Casts between floats and bits.
    pub casts: usize,
    /// Integers that bits are masked, compared and joined with.
    pub masks: usize,
    /// Calls of `settled` and `leading`.
    pub calls: usize,
}

impl AddAssign for Bits {
    fn add_assign(&mut self, other: Self) {
        self.casts += other.casts;
        self.masks += other.masks;
        self.calls += other.calls;
    }
}

/// Holds the text of one entry point against its module: whatever works on bits there does so in
/// the text, in every function that the text has. The number of such operations.
pub(super) fn kept(
    module: &Module,
    info: &ModuleInfo,
    entry: &str,
    text: &str,
    language: Language,
) -> Result<Bits, String> {
    if let Some(refused) = REFUSED.iter().find(|&&refused| calls(text, refused) > 0) {
        return Err(format!("`{refused}` is in the text"));
    }
    let functions = functions(text);
    // naga sets an underscore behind a digit.
    let body = |name: &str| {
        let body = functions.get(name);
        body.or_else(|| functions.get(format!("{name}_").as_str()))
            .copied()
    };
    let mut all = Bits::default();
    let mut add = |name: &str, function: &Function, info: &FunctionInfo, body: &str| {
        let found = function_kept(module, info, function, body, language);
        let bits = found.map_err(|lost| format!("`{name}` lost {lost}:\n{body}"))?;
        all += bits;
        Ok::<(), String>(())
    };
    for (handle, function) in module.functions.iter() {
        let name = function.name.as_deref().unwrap_or_default();
        // A function that the entry point does not reach is left out.
        if let Some(body) = body(name) {
            add(name, function, &info[handle], body)?;
        }
    }
    let index = module.entry_points.iter().position(|e| e.name == entry);
    let index = index.ok_or("the module has no such entry point")?;
    let name = match language {
        Language::Glsl => "main",
        Language::Metal | Language::Hlsl => entry,
    };
    let main = body(name).ok_or("the text has no such entry point")?;
    let function = &module.entry_points[index].function;
    add(entry, function, info.get_entry_point(index), main)?;

    for (name, operations) in NAMED {
        let Some(body) = body(name) else {
            continue;
        };
        let lost = operations
            .iter()
            .find(|&&operation| !body.contains(operation));
        if let Some(lost) = lost {
            return Err(format!("`{name}` lost its `{lost}`:\n{body}"));
        }
    }
    // Without a store from a uniform the compiler knows the zero.
    let stored = text
        .lines()
        .any(|line| line.trim_start().starts_with("opaque_zero = _"));
    if body("settled").is_some() && !(stored && text.contains(".zero;")) {
        return Err("the zero of `settled` is not stored".to_owned());
    }
    Ok(all)
}

fn function_kept(
    module: &Module,
    info: &FunctionInfo,
    function: &Function,
    body: &str,
    language: Language,
) -> Result<Bits, String> {
    let mut bits = Bits::default();
    let casts: usize = language.casts().iter().map(|cast| calls(body, cast)).sum();
    for (handle, expression) in function.expressions.iter() {
        match *expression {
            Expression::As {
                expr,
                kind,
                convert: None,
            } if info[handle].ref_count > 0 => {
                let from = info[expr].ty.inner_with(&module.types);
                bits.casts += usize::from(kind == ScalarKind::Float || is_float(from));
            }
            Expression::Literal(Literal::U32(mask))
                if mask > 0xff && info[handle].ref_count > 0 =>
            {
                if !body.contains(&format!("{mask}u")) {
                    return Err(format!("the mask {mask:#x}"));
                }
                bits.masks += 1;
            }
            Expression::Math { fun, .. } => {
                let ty = info[handle].ty.inner_with(&module.types);
                if is_float(ty) && !is_allowed(fun) {
                    return Err(format!("its place: it calls {fun:?}"));
                }
            }
            _ => {}
        }
    }
    if casts < bits.casts {
        return Err(format!(
            "{} of {} casts of bits",
            bits.casts - casts,
            bits.casts
        ));
    }
    for callee in ["settled", "leading"] {
        let wanted = calls_of(module, &function.body, callee);
        let found = calls(body, &format!("{callee}("));
        if found < wanted {
            return Err(format!("{} calls of `{callee}`", wanted - found));
        }
        bits.calls += wanted;
    }
    Ok(bits)
}

fn is_float(ty: &TypeInner) -> bool {
    let float = |scalar: Scalar| scalar.kind == ScalarKind::Float;
    ty.scalar().is_some_and(float)
}

/// How often statements call a function, in all their blocks.
fn calls_of(module: &Module, block: &naga::Block, callee: &str) -> usize {
    let inner = |blocks: &[&naga::Block]| -> usize {
        blocks.iter().map(|b| calls_of(module, b, callee)).sum()
    };
    let count = |statement: &Statement| match statement {
        Statement::Call { function, .. } => {
            usize::from(module.functions[*function].name.as_deref() == Some(callee))
        }
        Statement::Block(block) => inner(&[block]),
        Statement::If { accept, reject, .. } => inner(&[accept, reject]),
        Statement::Loop {
            body, continuing, ..
        } => inner(&[body, continuing]),
        Statement::Switch { cases, .. } => cases.iter().map(|case| inner(&[&case.body])).sum(),
        _ => 0,
    };
    block.iter().map(count).sum()
}

/// How often a name stands in a text as a whole, and not as the end of another.
fn calls(text: &str, name: &str) -> usize {
    let whole = |&(at, _): &(usize, &str)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    text.match_indices(name).filter(whole).count()
}

/// The functions of a C-like text by their names, each from its head to its end.
fn functions(text: &str) -> HashMap<&str, &str> {
    let mut functions = HashMap::new();
    let mut at = 0;
    while let Some(length) = text[at..].find('\n') {
        let line = &text[at..at + length];
        let name = line.split('(').next().unwrap_or_default();
        let name = name.rsplit(' ').next().unwrap_or_default();
        // A head stands at the margin, behind a type.
        let head = line.starts_with(|c: char| c.is_ascii_alphabetic())
            && line.contains('(')
            && line
                .split('(')
                .next()
                .is_some_and(|start| start.contains(' '))
            && !line.contains(['=', ';']);
        if head && let Some(end) = text[at..].find("\n}") {
            functions.insert(name, &text[at..at + end]);
            at += end;
        } else {
            at += length;
        }
        at += 1;
    }
    functions
}

/// The harness itself: what is lost or added on the way from the module to a text is seen, and what
/// was never in the module.
#[test]
fn what_fast_math_would_break_is_seen() {
    use super::{Access, Activation, DType, Width, elementwise, translate, validate};
    let text = elementwise(
        Activation::Gelu,
        Access::single(Width::One),
        [DType::F32; 3],
    );
    let (module, info) = validate(&text);
    let targets = translate(&module, &info, "forward", 64).unwrap();
    for (text, language) in targets.texts() {
        let kept = |text: &str| kept(&module, &info, "forward", text, language);
        assert!(kept(text).unwrap().calls > 0, "{text}");
        for (whole, broken) in [
            (") ^ _", ") + _"),
            ("& 2147483647u", "& 2147483646u"),
            ("= settled(", "= ("),
            ("opaque_zero = _", "other = _"),
            (language.casts()[0], "cast("),
            ("return ", "return isnan("),
        ] {
            let changed = text.replace(whole, broken);
            assert_ne!(changed, text, "{language:?} has no {whole}");
            assert!(kept(&changed).is_err(), "{language:?} without {whole}");
        }
    }

    for (whole, broken) in [
        ("bitcast<f32>(bitcast<u32>(x) ^ opaque_zero)", "x"),
        ("(bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u", "x != x"),
        (
            "return select(x, bound, x > bound);",
            "return min(x, bound);",
        ),
    ] {
        let changed = text.replace(whole, broken);
        assert_ne!(changed, text, "no {whole}");
        let (module, info) = validate(&changed);
        let targets = translate(&module, &info, "forward", 64).unwrap();
        for (text, language) in targets.texts() {
            let kept = kept(&module, &info, "forward", text, language);
            assert!(kept.is_err(), "{broken} in {language:?}");
        }
    }
}
