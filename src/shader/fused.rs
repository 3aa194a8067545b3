//! Activations as text for a caller's own shader: what they need of the library, under a prefix.

use super::names::{Declaration, Names, problem};
use super::{ACTIVATIONS, MATH, derivative_name, function_name, literal};
use crate::catalogue::Elementwise;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::OnceLock;

/// What names that are the library's begin with in a caller's shader.
const PREFIX: &str = "activations_";

/// WGSL text that defines, for every name and function given, `fn NAME(x: f32) -> f32` and its
/// derivative `fn NAME_grad(x: f32) -> f32`, with the function's parameters as constants. It declares
/// no binding and can stand before any shader, once: all functions that a shader calls come from one
/// call. A NaN goes through as it is.
///
/// What the functions need of this library is in the text, and nothing else; its names begin with
/// `activations_`. Functions of WGSL's that it calls, such as `select`, must not be hidden by other
/// functions of the shader.
///
/// ```
/// use wgpu_activations::{Activation, shader};
/// let leaky = Activation::LeakyRelu.with([("negative_slope", 0.2)])?;
/// let text = shader::fused([("hidden", leaky), ("gate", Activation::Silu.into())])?;
/// assert!(text.contains("fn hidden(x: f32) -> f32") && text.contains("fn gate_grad(x: f32) -> f32"));
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
///
/// # The opaque zero
///
/// The accuracy stands on sums that are taken in the order in which they are written, and compilers
/// may take them in another: Mesa's makes `a - (b + c)` of `(a - b) - c`, which costs some gradients
/// 40 ULP. So the text passes what must come first through an exclusive or with a variable that is
/// always 0,
///
/// ```wgsl
/// var<private> activations_opaque_zero: u32;
/// ```
///
/// and a shader stores a 0 there which no compiler can know, from a uniform or a storage buffer,
/// at the beginning of its entry point, before it calls any of the functions:
///
/// ```wgsl
/// // A buffer of four zero bytes; a member of a uniform that there is anyway will do.
/// @group(0) @binding(3) var<uniform> zero: u32;
///
/// @compute @workgroup_size(64)
/// fn mine(@builtin(global_invocation_id) id: vec3<u32>) {
///     activations_opaque_zero = zero;
///     // ...
/// }
/// ```
///
/// The variable is there whatever the functions are. A shader that leaves it alone computes the same
/// wherever its compiler keeps the order.
///
/// # Errors
/// [`Error::FusedName`] for a name that WGSL does not take or has itself, that begins with
/// `activations_`, or that is there twice, `NAME_grad` included.
pub fn fused<'a, F: Into<Elementwise>>(
    functions: impl IntoIterator<Item = (&'a str, F)>,
) -> Result<String> {
    let library = library();
    let mut needed = vec![false; library.items.len()];
    let (mut names, mut own) = (Vec::new(), String::new());
    library.need("opaque_zero", &mut needed);
    for (name, f) in functions {
        let f = f.into();
        let pair = [name.to_owned(), format!("{name}_grad")];
        let wrong = |problem: &str| Error::FusedName {
            name: name.to_owned(),
            problem: problem.to_owned(),
        };
        if let Some(problem) = problem(name) {
            return Err(wrong(problem));
        }
        if name.starts_with(PREFIX) {
            return Err(wrong("such names are the library's; take another"));
        }
        if pair.iter().any(|name| names.contains(name)) {
            return Err(wrong(
                "another function has this name, or its derivative has; take another",
            ));
        }
        let mut arguments = String::new();
        for value in &f.packed()[..f.parameters().len()] {
            let _ = write!(arguments, ", {}", literal(*value, PREFIX));
        }
        library.need("is_nan", &mut needed);
        let called = [
            function_name(f.activation()),
            derivative_name(f.activation()),
        ];
        for (name, called) in pair.iter().zip(called) {
            library.need(&called, &mut needed);
            let _ = writeln!(
                own,
                "fn {name}(x: f32) -> f32 {{\n    \
                 return select({PREFIX}{called}(x{arguments}), x, {PREFIX}is_nan(x));\n}}"
            );
        }
        names.extend(pair);
    }
    let items = library.items.iter().zip(needed);
    let items = items.filter(|(_, needed)| *needed).map(|(item, _)| item);
    let mut text: String = items.map(|item| &*item.text).collect();
    text.push_str(&own);
    Ok(text)
}

/// The library's declarations, in order.
struct Library {
    items: Vec<Item>,
    /// Each one's place.
    places: HashMap<&'static str, usize>,
}

struct Item {
    /// Its text, names with prefixes.
    text: String,
    /// The places of what it needs.
    needs: Vec<usize>,
}

impl Library {
    /// Marks what has that name, and all that it needs.
    fn need(&self, name: &str, needed: &mut [bool]) {
        let mut next: Vec<usize> = self.places.get(name).copied().into_iter().collect();
        while let Some(place) = next.pop() {
            if !std::mem::replace(&mut needed[place], true) {
                next.extend(&self.items[place].needs);
            }
        }
    }
}

/// [`MATH`] and [`ACTIVATIONS`], taken apart once.
fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let texts = [MATH, ACTIVATIONS].map(Names::of);
        let all: Vec<Declaration<'_, '_>> = texts.iter().flat_map(Names::declarations).collect();
        let places = all.iter().enumerate().map(|(i, d)| (d.name, i));
        let places: HashMap<&'static str, usize> = places.collect();
        let item = |declaration: &Declaration<'_, '_>| {
            // A variable of a function's may have the name of a function, but is not called.
            let uses = declaration.uses().filter_map(|(name, called)| {
                let place = *places.get(name)?;
                (called || !all[place].is_function).then_some(place)
            });
            let mut needs: Vec<usize> = uses.collect();
            needs.sort_unstable();
            needs.dedup();
            Item {
                text: declaration.with_prefix(PREFIX, |name| places.contains_key(name)),
                needs,
            }
        };
        let items = all.iter().map(item).collect();
        Library { items, places }
    })
}
