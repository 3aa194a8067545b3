//! The text of a chain's module: its steps as straight code, forward or backward.

use super::elementwise::{Access, entry_points};
#[cfg(test)]
use super::memory::Width;
use super::memory::{self, Array};
use super::random::PHILOX;
use super::{ACTIVATIONS, CustomText, HALF, MATH, STEPS, derivative_name, function_name, spelled};
use crate::catalogue::{Activation, Factor};
use crate::element::DType;
use crate::few::Few;
use std::fmt::Write;

const CHAIN: &str = include_str!("../../shaders/chain.wgsl");

/// The entry point of a chain's module.
pub(crate) const CHAIN_ENTRY_POINT: &str = "chain";
/// The binding of the first operand, and of the first operand's gradient.
pub(crate) const OPERANDS: u32 = 20;
pub(crate) const OPERAND_GRADIENTS: u32 = 30;

/// The structure of a step; its values are data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Link {
    Function(Activation),
    /// A caller's function.
    Custom(CustomText),
    Scale,
    /// Of the next operand.
    Add,
    /// Of the next operand.
    Multiply,
    Cast(DType),
    Dropout,
}

impl Link {
    /// Words of values that the step has.
    pub(crate) fn words(&self) -> usize {
        match self {
            Self::Function(activation) => activation.info().parameters.len(),
            Self::Custom(function) => function.parameters,
            Self::Scale => 1,
            Self::Add | Self::Multiply | Self::Cast(_) => 0,
            // The threshold, the factor, the seed.
            Self::Dropout => 4,
        }
    }

    /// The names of its function and of the derivative, where it is one.
    fn function(&self) -> Option<[String; 2]> {
        match self {
            Self::Function(activation) => {
                Some([function_name(*activation), derivative_name(*activation)])
            }
            Self::Custom(CustomText { name, .. }) => {
                Some([name.to_string(), format!("{name}_grad")])
            }
            _ => None,
        }
    }

    /// Whether nothing but NaN becomes NaN in it.
    fn passes_nan(&self) -> bool {
        matches!(self, Self::Function(_))
    }

    /// Whether it is a function of more than comparisons.
    fn has_sums(&self) -> bool {
        match self {
            Self::Function(activation) => activation.factor() != Factor::Plain,
            other => matches!(other, Self::Custom(..)),
        }
    }

    fn has_operand(&self) -> bool {
        matches!(self, Self::Add | Self::Multiply)
    }
}

/// How an invocation finds its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// At its own index.
    Whole,
    /// There is one for all.
    Single,
    /// By groups of axes, kept and broadcast by turns, of which some are longer than 1.
    Groups {
        long: [bool; 6],
        neighbours: Neighbours,
    },
}

/// What the operands of a unit's elements have to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Neighbours {
    /// They are one.
    Shared,
    /// They are a unit.
    Unit,
    /// Nothing.
    Scattered,
}

impl Reach {
    /// The way to an operand of these groups, shifted to the end, in units of so many elements.
    pub(crate) fn new(groups: [usize; 6], unit: u64) -> Self {
        let [k1, r1, k2, r2, k3, r3] = groups;
        if (r1, r2, r3) == (1, 1, 1) {
            return Self::Whole;
        }
        if (k1, k2, k3) == (1, 1, 1) {
            return Self::Single;
        }
        let units = |n: usize| unit > 1 && (n as u64).is_multiple_of(unit);
        let neighbours = match r3 {
            1 if units(k3) => Neighbours::Unit,
            r3 if units(r3) => Neighbours::Shared,
            _ => Neighbours::Scattered,
        };
        Self::Groups {
            long: groups.map(|n| n > 1),
            neighbours,
        }
    }

    /// Words of values that the operand has: where it begins, the index of the bindings' first
    /// element among those that it begins with, and its groups.
    pub(crate) const WORDS: usize = 8;

    pub(super) fn reads_units(self) -> bool {
        match self {
            Self::Whole => true,
            Self::Single => false,
            Self::Groups { neighbours, .. } => neighbours == Neighbours::Unit,
        }
    }
}

/// A chain's module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChainModule {
    pub links: Few<Link, 8>,
    /// The operands and their types.
    pub operands: Few<(Reach, DType), 4>,
    pub access: Access,
    /// The types of x, of the result, and of the upstream gradient.
    pub dtypes: [DType; 3],
    /// For the backward direction, which of the operands have a gradient, of f32.
    pub gradients: Option<Few<bool, 4>>,
}

impl ChainModule {
    /// Words of values: those of the steps, then those of the operands.
    pub(crate) fn words(&self) -> usize {
        let steps: usize = self.links.iter().map(Link::words).sum();
        steps + Reach::WORDS * self.operands.len()
    }

    /// The module's text; its entry point is [`CHAIN_ENTRY_POINT`].
    pub(crate) fn text(&self) -> String {
        let array = |name, binding, dtype, written| Array {
            name,
            binding,
            dtype,
            written,
        };
        let [x, out, dy] = self.dtypes;
        let mut arrays = vec![array("x", 0, x, false), array("out", 2, out, true)];
        if self.gradients.is_some() {
            arrays.push(array("dy", 1, dy, false));
        }
        let names = |what: &str| -> Vec<String> {
            let all = 0..self.operands.len();
            all.map(|j| format!("{what}_{j}")).collect()
        };
        let (operands, gradients) = (names("operand"), names("gradient"));
        for (j, (reach, dtype)) in self.operands.iter().enumerate() {
            if reach.reads_units() {
                arrays.push(array(&operands[j], OPERANDS + j as u32, *dtype, false));
            }
        }
        for (j, _) in self.wanted() {
            let binding = OPERAND_GRADIENTS + j as u32;
            arrays.push(array(&gradients[j], binding, DType::F32, true));
        }
        let memory = memory::declare(&arrays, self.access.width);
        let words = self.words().div_ceil(4).max(1);
        let mut text = format!(
            "{MATH}\n{ACTIVATIONS}\n{PHILOX}\n{memory}\nconst WORDS: u32 = {words}u;\n{CHAIN}\n{STEPS}\n"
        );
        let needs_half =
            self.operands.iter().any(|(_, dtype)| *dtype != DType::F32) || self.casts();
        if needs_half && arrays.iter().all(|array| array.dtype == DType::F32) {
            text.push_str(HALF);
        }
        let mut first = self.links.iter().map(Link::words).sum();
        for (j, (reach, dtype)) in self.operands.iter().enumerate() {
            self.operand(&mut text, j, *reach, *dtype, first);
            first += Reach::WORDS;
        }
        self.steps(&mut text);
        self.unit(&mut text);
        text.push_str(&entry_points(&[CHAIN_ENTRY_POINT], self.access.units));
        spelled(&text) + &custom_texts(&self.links)
    }

    /// Whether it rounds to another type on the way.
    pub(super) fn casts(&self) -> bool {
        self.links.iter().any(|link| matches!(link, Link::Cast(_)))
    }

    /// The operands that have a gradient.
    fn wanted(&self) -> impl Iterator<Item = (usize, &bool)> {
        let gradients = self.gradients.as_deref().unwrap_or_default();
        gradients.iter().enumerate().filter(|(_, wanted)| **wanted)
    }

    /// `reach_{j}(at)`, the operand's numbers for unit `at`.
    pub(super) fn operand(
        &self,
        text: &mut String,
        j: usize,
        reach: Reach,
        dtype: DType,
        words: usize,
    ) {
        let width = self.access.width;
        let unit = width.elements();
        if !reach.reads_units() {
            let binding = OPERANDS + j as u32;
            let (stored, one) = match dtype {
                DType::F32 => ("f32", format!("operand_{j}[i]")),
                _ => {
                    let kind = dtype.short_name();
                    let word = format!("operand_{j}[i / 2u] >> (16u * (i & 1u))");
                    ("u32", format!("{kind}_to_f32({word})"))
                }
            };
            let _ = writeln!(
                text,
                "@group(0) @binding({binding}) var<storage, read> operand_{j}: array<{stored}>;\n\
                 fn one_{j}(i: u32) -> f32 {{\n    return {one};\n}}"
            );
        }
        let load = match reach {
            Reach::Whole => format!("    return load_operand_{j}(at);\n"),
            Reach::Single => {
                let same = width.each("one");
                format!(
                    "    let one = one_{j}({});\n    return {same};\n",
                    bits(words)
                )
            }
            Reach::Groups { long, neighbours } => {
                let _ = writeln!(
                    text,
                    "fn place_{j}(i: u32) -> u32 {{\n{}}}",
                    place(words, long)
                );
                match neighbours {
                    Neighbours::Shared => {
                        let same = width.each("one");
                        format!(
                            "    let one = one_{j}(place_{j}({unit}u * at));\n    return {same};\n"
                        )
                    }
                    Neighbours::Unit => {
                        format!("    return load_operand_{j}(place_{j}({unit}u * at) / {unit}u);\n")
                    }
                    Neighbours::Scattered => {
                        let each = width.each(&format!("one_{j}(place_{j}({unit}u * at + #))"));
                        format!("    return {each};\n")
                    }
                }
            }
        };
        let _ = writeln!(text, "fn reach_{j}(at: u32) -> Elements {{\n{load}}}");
    }

    /// `steps_one`, an element's way through the steps.
    pub(super) fn steps(&self, text: &mut String) {
        let mut arguments = String::new();
        for j in 0..self.operands.len() {
            let _ = write!(arguments, ", o{j}: f32");
        }
        for k in self.draws() {
            let _ = write!(arguments, ", b{k}: u32");
        }
        let mut body = String::new();
        let words = self.forward_lets(&mut body);
        let last = self.links.len();
        if self.gradients.is_none() {
            let _ = writeln!(
                text,
                "fn steps_one(v0: f32{arguments}) -> f32 {{\n{body}    return v{last};\n}}"
            );
            return;
        }
        let _ = writeln!(body, "    let g{last} = dy;");
        let mut operand = self.operands.len();
        for (k, link) in self.links.iter().enumerate().rev() {
            let (v, g, w) = (format!("v{k}"), format!("g{}", k + 1), words[k]);
            let back = match link {
                Link::Function(_) | Link::Custom(..) => {
                    let [_, name] = link.function().unwrap_or_default();
                    let call = call(&name, &v, w, link.words());
                    let whole = format!("v{}", self.nan_of(k));
                    format!("through({g}, select({call}, {whole}, is_nan({whole})), {whole})")
                }
                Link::Scale => format!("{g} * {}", value(w)),
                Link::Add => {
                    operand -= 1;
                    let _ = writeln!(body, "    let d{operand} = {g};");
                    g
                }
                Link::Multiply => {
                    operand -= 1;
                    let _ = writeln!(body, "    let d{operand} = {g} * {v};");
                    format!("{g} * o{operand}")
                }
                Link::Cast(_) => g,
                Link::Dropout => dropped(&g, k, w),
            };
            let _ = writeln!(body, "    let g{k} = {back};");
        }
        let wanted: Vec<usize> = self.wanted().map(|(j, _)| j).collect();
        let fields: String = wanted.iter().map(|j| format!(" d{j}: f32,")).collect();
        let values: String = wanted.iter().map(|j| format!(", d{j}")).collect();
        let _ = writeln!(
            text,
            "struct Gradients {{ x: f32,{fields} }}\n\
             fn steps_one(v0: f32{arguments}, dy: f32) -> Gradients {{\n{body}    \
             return Gradients(g0{values});\n}}"
        );
    }

    /// The steps that draw random words.
    pub(super) fn draws(&self) -> impl Iterator<Item = usize> {
        let links = self.links.iter().enumerate();
        links
            .filter(|(_, link)| **link == Link::Dropout)
            .map(|(k, _)| k)
    }

    /// The step whose input is NaN where that of function k is: functions in a row pass NaN on as
    /// one.
    fn nan_of(&self, k: usize) -> usize {
        let before = self.links[..k].iter().rev();
        k - before.take_while(|link| link.passes_nan()).count()
    }

    /// What every step makes, v1 and on, and where the values of each lie. What a function of more
    /// than comparisons is given is settled, so that no compiler looks through a step into its sums.
    fn forward_lets(&self, body: &mut String) -> Vec<usize> {
        let (mut words, mut word, mut operand) = (Vec::new(), 0, 0);
        for (k, link) in self.links.iter().enumerate() {
            let v = format!("v{k}");
            let next = match link {
                Link::Function(_) | Link::Custom(..) => {
                    let [name, _] = link.function().unwrap_or_default();
                    let call = call(&name, &v, word, link.words());
                    match self.links.get(k + 1) {
                        Some(next) if link.passes_nan() && next.function().is_some() => call,
                        _ => {
                            let whole = format!("v{}", self.nan_of(k));
                            format!("select({call}, {whole}, is_nan({whole}))")
                        }
                    }
                }
                Link::Scale => format!("{v} * {}", value(word)),
                Link::Add => format!("{v} + o{operand}"),
                Link::Multiply => format!("{v} * o{operand}"),
                Link::Cast(DType::F32) => v,
                Link::Cast(dtype) => {
                    let kind = dtype.short_name();
                    format!("{kind}_to_f32(f32_to_{kind}({v}))")
                }
                Link::Dropout => dropped(&v, k, word),
            };
            let next = match self.links.get(k + 1) {
                Some(after) if after.has_sums() => format!("settled({next})"),
                _ => next,
            };
            let _ = writeln!(body, "    let v{} = {next};", k + 1);
            words.push(word);
            word += link.words();
            operand += usize::from(link.has_operand());
        }
        words
    }

    /// `chain_unit(i)`: reads a unit of every array, takes its elements through the steps, and
    /// writes what there is to write.
    fn unit(&self, text: &mut String) {
        let width = self.access.width;
        let unit = width.elements();
        let mut body = "    let vx = load_x(at);\n".to_owned();
        for j in 0..self.operands.len() {
            let _ = writeln!(body, "    let vo{j} = reach_{j}(at);");
        }
        let mut word = 0;
        for (k, link) in self.links.iter().enumerate() {
            if *link == Link::Dropout {
                let key = format!("vec2<u32>({}, {})", bits(word + 2), bits(word + 3));
                if unit < 4 {
                    for place in 0..unit {
                        let i = format!("{unit}u * at + {place}u");
                        let _ = writeln!(body, "    let vb{k}_{place} = random_word({i}, {key});");
                    }
                } else {
                    for block in 0..unit / 4 {
                        let i = format!("{unit}u * at + {}u", 4 * block);
                        let _ =
                            writeln!(body, "    let block{k}_{block} = random_block({i}, {key});");
                    }
                    for place in 0..unit {
                        let (block, part) = (place / 4, place % 4);
                        let _ = writeln!(body, "    let vb{k}_{place} = block{k}_{block}[{part}];");
                    }
                }
            }
            word += link.words();
        }
        if self.gradients.is_some() {
            body.push_str("    let vdy = load_dy(at);\n");
        }
        for (member, place) in width.members() {
            let mut arguments = format!("vx{member}");
            for j in 0..self.operands.len() {
                let _ = write!(arguments, ", vo{j}{member}");
            }
            for k in self.draws() {
                let _ = write!(arguments, ", vb{k}_{place}");
            }
            if self.gradients.is_some() {
                let _ = write!(arguments, ", vdy{member}");
            }
            // Named as `Width::each` writes places.
            let _ = writeln!(body, "    let r{place}u = steps_one({arguments});");
        }
        let main = if self.gradients.is_some() { ".x" } else { "" };
        let all = width.each(&format!("r#{main}"));
        let _ = writeln!(body, "    store_out(at, {all});");
        for (j, _) in self.wanted() {
            let all = width.each(&format!("r#.d{j}"));
            let _ = writeln!(body, "    store_gradient_{j}(at, {all});");
        }
        let _ = writeln!(
            text,
            "fn chain_unit(i: u32) {{\n    if i >= uniforms.count {{\n        return;\n    }}\n    \
             let at = uniforms.first + i;\n{body}}}"
        );
    }
}

/// What defines the custom functions among some steps, each once. It comes behind the module's own
/// text, of which words are replaced: a caller's variables may be called as they are.
pub(super) fn custom_texts<'a>(links: impl IntoIterator<Item = &'a Link>) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for link in links {
        match link {
            Link::Custom(CustomText { text, .. }) if !texts.contains(&&**text) => texts.push(text),
            _ => {}
        }
    }
    spelled(&format!("\n{}", texts.join("\n")))
}

/// Word `word` of the values.
pub(super) fn bits(word: usize) -> String {
    let part = ["x", "y", "z", "w"][word % 4];
    format!("uniforms.values[{}].{part}", word / 4)
}

/// Word `word` of the values as a number.
fn value(word: usize) -> String {
    format!("bitcast<f32>({})", bits(word))
}

/// A call of an activation's function or derivative with its parameters.
fn call(name: &str, v: &str, word: usize, parameters: usize) -> String {
    let parameters: String = (0..parameters)
        .map(|i| format!(", {}", value(word + i)))
        .collect();
    format!("{name}({v}{parameters})")
}

/// A value that dropout k keeps or drops.
fn dropped(v: &str, k: usize, word: usize) -> String {
    let (factor, threshold) = (value(word + 1), bits(word));
    format!("select(0.0, {v} * {factor}, b{k} >= {threshold})")
}

/// The lines that find the place of the operand of element i, with values from `word` on: where it
/// begins, the index of element 0, then r1, k2, r2, k3, r3.
fn place(word: usize, long: [bool; 6]) -> String {
    let [k1, r1, k2, r2, k3, r3] = long;
    let at = |i: usize| bits(word + i);
    let mut body = format!(
        "    var rest = {} + i;\n    var index = {};\n",
        at(1),
        at(0)
    );
    let mut outer = |lines: String| body.push_str(&lines);
    if r3 {
        outer(format!("    rest = rest / {};\n", at(6)));
    }
    let more = k1 || r1 || k2 || r2;
    if k3 {
        let place = if more {
            format!("rest % {}", at(5))
        } else {
            "rest".to_owned()
        };
        outer(format!("    index += {place};\n"));
    }
    if !(k1 || k2) {
        return body + "    return index;\n";
    }
    if k3 {
        outer(format!("    rest = rest / {};\n", at(5)));
    }
    if r2 {
        outer(format!("    rest = rest / {};\n", at(4)));
    }
    let run = if k3 {
        format!(" * {}", at(5))
    } else {
        String::new()
    };
    if k2 {
        let place = if k1 || r1 {
            format!("(rest % {})", at(3))
        } else {
            "rest".to_owned()
        };
        outer(format!("    index += {place}{run};\n"));
    }
    if k1 {
        if k2 {
            outer(format!("    rest = rest / {};\n", at(3)));
        }
        if r1 {
            outer(format!("    rest = rest / {};\n", at(2)));
        }
        let block = if k2 {
            format!(" * {}", at(3))
        } else {
            String::new()
        };
        outer(format!("    index += rest{block}{run};\n"));
    }
    body + "    return index;\n"
}

/// A module by a name, with its bindings and its text.
#[cfg(test)]
type Listed = (String, Vec<(u32, bool, bool)>, String);

/// Modules with every kind of step and of access, by a name, with their bindings' numbers, as
/// (number, is a uniform, is written).
#[cfg(test)]
pub(super) fn modules() -> Vec<Listed> {
    let links = [
        Link::Scale,
        Link::Add,
        Link::Function(Activation::LeakyRelu),
        Link::Multiply,
        Link::Cast(DType::F16),
        Link::Cast(DType::Bf16),
        Link::Dropout,
        Link::Add,
    ];
    let mut modules = Vec::new();
    let groups = [
        [8, 1, 1, 1, 1, 1],
        [1, 8, 1, 1, 1, 1],
        [2, 3, 4, 5, 8, 1],
        [2, 3, 4, 5, 6, 8],
        [1, 1, 4, 5, 6, 7],
        [1, 1, 1, 9, 7, 1],
    ];
    let types = [DType::F32, DType::F16, DType::Bf16];
    for (w, width) in [Width::One, Width::Two, Width::Four, Width::Eight]
        .into_iter()
        .enumerate()
    {
        for (i, _) in groups.iter().enumerate() {
            // A width of one has f32 alone.
            let dtype = |n: usize| {
                if width == Width::One {
                    DType::F32
                } else {
                    types[n % 3]
                }
            };
            let operand = |j: usize| {
                let reach = Reach::new(groups[(i + j) % groups.len()], width.elements());
                (reach, dtype(i + j + w))
            };
            let operands: Few<(Reach, DType), 4> = (0..3).map(operand).collect();
            for gradients in [None, Some(Few::from([true, false, true]))] {
                let mut bindings = vec![(0, false, false), (2, false, true), (3, true, false)];
                bindings.extend((OPERANDS..).take(3).map(|number| (number, false, false)));
                if gradients.is_some() {
                    bindings.push((1, false, false));
                    bindings.extend([0, 2].map(|j| (OPERAND_GRADIENTS + j, false, true)));
                }
                bindings.sort_unstable();
                let module = ChainModule {
                    links: links.iter().cloned().collect(),
                    operands: operands.clone(),
                    access: Access {
                        width,
                        units: 1 + i as u32 % 2,
                    },
                    dtypes: [dtype(i), dtype(i + 1), dtype(w)],
                    gradients,
                };
                modules.push((format!("{module:?}"), bindings, module.text()));
            }
        }
    }
    modules
}
