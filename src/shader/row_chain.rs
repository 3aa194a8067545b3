//! The text of a chain around a function of the softmax family: the kernel over rows, whose reads go
//! through the steps before it and whose writes through those behind it.

use super::chain::{ChainModule, Link, Reach, bits, custom_texts};
use super::memory::{self, Array};
use super::random::PHILOX;
use super::softmax::{Unit, rows_of_softmax};
use super::{ACTIVATIONS, HALF, OPERANDS, STEPS, spelled};
use crate::axis::AxisFunction;
use std::fmt::Write;

/// A chain with a function along an axis. Arrays are of f32; the accesses of both parts are of the
/// unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowChainModule {
    pub function: AxisFunction,
    /// One or four.
    pub unit: Unit,
    pub before: ChainModule,
    pub after: ChainModule,
}

impl RowChainModule {
    /// Words of the constants before the values: the first element's number in the array.
    pub(crate) const HEADER: usize = 4;

    /// Words of values, of the steps before and behind, each in whole vectors.
    pub(crate) fn words(&self) -> [usize; 2] {
        [&self.before, &self.after].map(|part| part.words().next_multiple_of(4).max(4))
    }

    /// The module's text, with the entry points of a softmax module.
    pub(crate) fn text(&self) -> String {
        let mut text = rows_of_softmax(self.function, self.unit);
        for (own, plain) in [("load_x", "load_plain"), ("store_out", "store_plain")] {
            text = text.replacen(&format!("fn {own}("), &format!("fn {plain}("), 1);
        }
        let parts = [
            (&self.before, "before", 0),
            (&self.after, "after", self.before.operands.len()),
        ];
        let names: Vec<String> = parts
            .iter()
            .flat_map(|(part, ..)| &part.operands)
            .enumerate()
            .map(|(j, _)| format!("operand_{j}"))
            .collect();
        let mut arrays = Vec::new();
        let operands = parts.iter().flat_map(|(part, ..)| &part.operands);
        for (j, ((reach, dtype), name)) in operands.zip(&names).enumerate() {
            if reach.reads_units() {
                arrays.push(Array {
                    name,
                    binding: OPERANDS + j as u32,
                    dtype: *dtype,
                    written: false,
                });
            }
        }
        text.push_str(ACTIVATIONS);
        text.push_str(PHILOX);
        text.push_str(&memory::declare(&arrays, self.before.access.width));
        if parts.iter().any(|(part, ..)| part.casts()) {
            text.push_str(HALF);
        }
        let [before, after] = self.words().map(|words| words / 4);
        let _ = writeln!(
            text,
            "struct ChainConstants {{\n    index_low: u32,\n    index_high: u32,\n    \
             before_values: array<vec4<u32>, {before}>,\n    \
             after_values: array<vec4<u32>, {after}>,\n}}\n\
             @group(0) @binding(13) var<uniform> constants: ChainConstants;"
        );
        text.push_str(&STEPS.replace("uniforms.", "constants."));
        for (part, name, first) in parts {
            let own = self.part(part, name, first);
            text.push_str(&own.replace("uniforms.values", &format!("constants.{name}_values")));
        }
        let links = parts.iter().flat_map(|(part, ..)| &part.links);
        spelled(&text) + &custom_texts(links)
    }

    /// The steps before or behind, and the function of the kernel that goes through them.
    fn part(&self, part: &ChainModule, name: &str, first: usize) -> String {
        let unit = self.unit.elements();
        let mut text = String::new();
        let mut words = part.links.iter().map(Link::words).sum();
        for (j, (reach, dtype)) in part.operands.iter().enumerate() {
            let mut own = String::new();
            part.operand(&mut own, first + j, *reach, *dtype, words);
            if *reach == Reach::Whole {
                // The array begins somewhere in its binding.
                own = own.replace("(at);", &format!("(at + {} / {unit}u);", bits(words)));
            }
            text.push_str(&own);
            words += Reach::WORDS;
        }
        let mut steps = String::new();
        part.steps(&mut steps);
        text.push_str(&steps.replace("fn steps_one(", &format!("fn {name}_one(")));

        let start = if name == "before" {
            "x_first"
        } else {
            "out_first"
        };
        let mut body = String::new();
        let members = part.access.width.members();
        for p in 0..8 / unit {
            let _ = writeln!(
                body,
                "    let i{p} = at + min({p}u, count - 1u) * stride - uniforms.{start} / {unit}u;"
            );
            for j in 0..part.operands.len() {
                let _ = writeln!(body, "    let o{j}_{p} = reach_{}(i{p});", first + j);
            }
            let mut word = 0;
            for (k, link) in part.links.iter().enumerate() {
                if *link == Link::Dropout {
                    for place in 0..unit {
                        let (low, high) = (bits(word + 2), bits(word + 3));
                        let _ = writeln!(
                            body,
                            "    let b{k}_{p}_{place} = \
                             random_word({unit}u * i{p} + {place}u, vec2<u32>({low}, {high}));"
                        );
                    }
                }
                word += link.words();
            }
        }
        let element = |e: u64| {
            let (p, place) = (e / unit, e % unit);
            let (member, _) = members[place as usize];
            let mut call = format!("{name}_one(v[{e}]");
            for j in 0..part.operands.len() {
                let _ = write!(call, ", o{j}_{p}{member}");
            }
            for k in part.draws() {
                let _ = write!(call, ", b{k}_{p}_{place}");
            }
            call + ")"
        };
        let all: Vec<String> = (0..8).map(element).collect();
        let all = format!("array<f32, 8>(\n        {})", all.join(",\n        "));
        let _ = match name {
            "before" => writeln!(
                text,
                "fn load_x(at: u32, stride: u32, count: u32) -> array<f32, 8> {{\n    \
                 let v = load_plain(at, stride, count);\n{body}    return {all};\n}}"
            ),
            _ => writeln!(
                text,
                "fn store_out(at: u32, stride: u32, count: u32, v: array<f32, 8>) {{\n{body}    \
                 store_plain(at, stride, count, {all});\n}}"
            ),
        };
        text
    }
}

/// Modules of every function and unit, with operands and random masks on either side, by a name.
#[cfg(test)]
pub(super) fn modules() -> Vec<(String, String)> {
    use super::elementwise::Access;
    use super::memory::Width;
    use crate::catalogue::Activation;
    use crate::element::DType;
    let functions = [AxisFunction::Softmax, AxisFunction::LogSoftmax];
    let units = [(Unit::One, Width::One), (Unit::Four, Width::Four)];
    let mut modules = Vec::new();
    for (function, (unit, width)) in functions.iter().flat_map(|f| units.map(|unit| (*f, unit))) {
        let side = |links: Vec<Link>, groups: [[usize; 6]; 2]| ChainModule {
            links: links.into_iter().collect(),
            operands: groups
                .map(|groups| (Reach::new(groups, unit.elements()), DType::F32))
                .into_iter()
                .collect(),
            access: Access::single(width),
            dtypes: [DType::F32; 3],
            gradients: None,
        };
        let module = RowChainModule {
            function,
            unit,
            before: side(
                vec![
                    Link::Scale,
                    Link::Add,
                    Link::Function(Activation::Gelu),
                    Link::Add,
                ],
                [[8, 1, 1, 1, 1, 1], [2, 3, 4, 5, 8, 1]],
            ),
            after: side(
                vec![
                    Link::Dropout,
                    Link::Multiply,
                    Link::Cast(DType::F16),
                    Link::Add,
                ],
                [[1, 8, 1, 1, 1, 1], [1, 1, 4, 5, 6, 8]],
            ),
        };
        modules.push((format!("{module:?}"), module.text()));
    }
    modules
}
