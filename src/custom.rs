//! Functions of the caller's own, which go where the catalogue's go in a chain.

mod number;
mod trace;

pub use number::Number;

use crate::catalogue::{Bounds, Dual};
use crate::cpu::{Isa, Kernel, Wide};
use crate::error::{Error, Result, shown};
use crate::range::Range;
use crate::shader;
use std::fmt;
use std::sync::Arc;

/// The formula of a [`Custom`] function, over any numbers: the CPU computes it in f64, the
/// derivative comes from it by dual numbers, and it is what `check` holds a GPU against.
pub trait CustomFormula: Send + Sync + 'static {
    /// f(x) with the parameters `p`, as many as are declared.
    fn value<N: Number>(&self, x: N, p: &[N]) -> N;
}

/// [`CustomFormula`] behind a pointer.
pub(crate) trait Formulas: Send + Sync {
    fn forward(&self, x: f64, p: &[f64]) -> f64;
    fn derivative(&self, x: f64, p: &[f64]) -> f64;
    fn block(&self, isa: Isa, p: &[f32], x: &[f32], out: &mut [f32]);
    fn wgsl(&self, name: &str, parameters: usize, gradient_alone: bool) -> String;
}

impl<F: CustomFormula> Formulas for F {
    fn forward(&self, x: f64, p: &[f64]) -> f64 {
        self.value(x, p)
    }

    fn derivative(&self, x: f64, p: &[f64]) -> f64 {
        let p: Vec<Dual> = p.iter().map(|&p| Number::constant(p)).collect();
        self.value(Dual::variable(x), &p).du
    }

    fn block(&self, isa: Isa, p: &[f32], x: &[f32], out: &mut [f32]) {
        isa.run(Block {
            formula: self,
            p,
            x,
            out,
        });
    }

    fn wgsl(&self, name: &str, parameters: usize, gradient_alone: bool) -> String {
        trace::wgsl(name, parameters, gradient_alone, |x, p| self.value(x, p))
    }
}

/// y = f(x) on the CPU.
struct Block<'a, F> {
    formula: &'a F,
    p: &'a [f32],
    x: &'a [f32],
    out: &'a mut [f32],
}

impl<F: CustomFormula> Kernel for Block<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let p: Vec<Wide<FMA>> = self.p.iter().map(|&p| Wide(p.into())).collect();
        for (y, &x) in self.out.iter_mut().zip(self.x) {
            let value = self.formula.value(Wide::<FMA>(x.into()), &p).0 as f32;
            *y = if x.is_nan() { x } else { value };
        }
    }
}

/// An element-wise function of the caller's own: a step of a [`Chain`](crate::Chain), alone or
/// among others, forward and backward, on every backend.
///
/// It is written once, in Rust over [`Number`]; the WGSL of it and of its derivative is made from
/// that, or is given. Whatever is given is compiled at once, and what is wrong with it is an error
/// that shows the line. A NaN goes through as it is.
///
/// ```
/// use wgpu_activations::{Backend, Chain, Custom, CustomFormula, Number, Range};
///
/// struct Bump;
/// impl CustomFormula for Bump {
///     fn value<N: Number>(&self, x: N, p: &[N]) -> N {
///         x * (-(p[0] * x.squared())).exp()
///     }
/// }
///
/// let bump = Custom::new("bump").parameter("width", 0.5, Range::NonNegative).formula(Bump)?;
/// let chain = Chain::new().apply(&bump).scale(2.0);
/// let y = Backend::auto()?.apply_chain(&chain, &[1.0], &[1], &[])?;
/// assert!((y[0] - 2.0 * (-0.5f32).exp()).abs() < 1e-6);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone)]
pub struct Custom {
    definition: Arc<Definition>,
    values: Vec<f32>,
}

struct Definition {
    name: String,
    parameters: Vec<(String, Range)>,
    bounds: Bounds,
    formulas: Box<dyn Formulas>,
    /// Its function and its derivative, as they were given or made, and as modules have them.
    wgsl: String,
    text: shader::CustomText,
}

/// What a [`Custom`] function is called and takes, before its formula.
#[derive(Clone, Debug)]
pub struct CustomBuilder {
    name: String,
    parameters: Vec<(String, Range)>,
    values: Vec<f32>,
    bounds: Bounds,
    wgsl: Option<String>,
}

impl Custom {
    /// A function of that name, which is also that of its WGSL: a letter, then letters, digits and
    /// underscores. It may be any such name: what a custom function declares meets nothing else.
    #[expect(clippy::new_ret_no_self, reason = "what it makes ends in one")]
    pub fn new(name: &str) -> CustomBuilder {
        CustomBuilder {
            name: name.to_owned(),
            parameters: Vec::new(),
            values: Vec::new(),
            bounds: Bounds::CONTRACT,
            wgsl: None,
        }
    }

    /// The same function with some parameters set, by name.
    ///
    /// # Errors
    /// [`Error::CustomFunction`] for a name that it does not have or a value out of range.
    pub fn with<'a>(&self, parameters: impl IntoIterator<Item = (&'a str, f32)>) -> Result<Self> {
        let mut function = self.clone();
        for (name, value) in parameters {
            let known = self.definition.parameters.iter();
            let place = known.clone().position(|(known, _)| known == name);
            let Some(place) = place else {
                let known: Vec<&str> = known.map(|(name, _)| &**name).collect();
                let problem = format!(
                    "there is no parameter '{}'; there is {}",
                    shown(name),
                    known.join(", ")
                );
                return Err(self.wrong(problem));
            };
            function.values[place] = value;
        }
        in_range(&self.definition.parameters, &function.values)
            .map_err(|problem| self.wrong(problem))?;
        Ok(function)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// The parameters' values, in the order of their declaration.
    pub fn parameters(&self) -> &[f32] {
        &self.values
    }

    /// How far results may be from the correctly rounded ones, as the definition says.
    pub fn bounds(&self) -> Bounds {
        self.definition.bounds
    }

    /// Its WGSL: functions of its name, and of that with `_grad`, of x and the parameters. In a
    /// kernel the names that it declares have a prefix.
    pub fn wgsl(&self) -> &str {
        &self.definition.wgsl
    }

    /// f(x) in f64; NaN where x is NaN.
    pub fn reference(&self, x: f64) -> f64 {
        let y = self.definition.formulas.forward(x, &self.wide());
        if x.is_nan() { x } else { y }
    }

    /// f'(x) in f64, by dual numbers; NaN where x is NaN.
    pub fn reference_derivative(&self, x: f64) -> f64 {
        let y = self.definition.formulas.derivative(x, &self.wide());
        if x.is_nan() { x } else { y }
    }

    pub(crate) fn text(&self) -> &shader::CustomText {
        &self.definition.text
    }

    /// y = f(x) on the CPU.
    pub(crate) fn block(&self, isa: Isa, x: &[f32], out: &mut [f32]) {
        self.definition.formulas.block(isa, &self.values, x, out);
    }

    /// g = g · f'(x) on the CPU, where a zero wins over an infinity.
    pub(crate) fn grad_block(&self, x: &[f32], g: &mut [f32]) {
        let p = self.wide();
        for (g, &x) in g.iter_mut().zip(x) {
            let slope = self.definition.formulas.derivative(x.into(), &p);
            let product = f64::from(*g) * slope;
            let nan = x.is_nan() || g.is_nan() || slope.is_nan();
            *g = match (nan, product.is_nan()) {
                (true, _) => x + *g + slope as f32,
                (false, true) => 0.0,
                (false, false) => product as f32,
            };
        }
    }

    fn wide(&self) -> Vec<f64> {
        self.values.iter().map(|&p| p.into()).collect()
    }

    fn wrong(&self, problem: String) -> Error {
        Error::CustomFunction {
            function: self.definition.name.clone(),
            problem,
        }
    }
}

impl CustomBuilder {
    /// A parameter more; in WGSL an argument, in the formula a number of `p`.
    #[must_use]
    pub fn parameter(mut self, name: &str, default: f32, range: Range) -> Self {
        self.parameters.push((name.to_owned(), range));
        self.values.push(default);
        self
    }

    /// How far results may be from the correctly rounded ones, where the contract's 2 and 4 ULP
    /// cannot be kept: `check` measures against it.
    #[must_use]
    pub fn bounds(mut self, forward: u32, backward: u32) -> Self {
        self.bounds = Bounds { forward, backward };
        self
    }

    /// WGSL of the function, in place of what the formula would give: `fn name(x: f32, p: f32, ...)
    /// -> f32` with an argument for each parameter, and if wanted `name_grad` of the same arguments,
    /// the derivative; without it, that is made from the formula. It may declare more, but no bindings,
    /// under any names; those of its own come before others. All of [`shader::MATH`] can be called.
    #[must_use]
    pub fn wgsl(mut self, text: &str) -> Self {
        self.wgsl = Some(text.to_owned());
        self
    }

    /// The function of this formula.
    ///
    /// # Errors
    /// [`Error::CustomFunction`] where the name is none, or a default is out of range;
    /// [`Error::CustomShader`] where the WGSL is wrong, with the line.
    pub fn formula(self, formula: impl CustomFormula) -> Result<Custom> {
        let Self {
            name,
            parameters,
            values,
            bounds,
            wgsl,
        } = self;
        let wrong = |problem: String| Error::CustomFunction {
            function: name.clone(),
            problem,
        };
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !starts || !word {
            let problem = "the name must be a letter, then letters, digits and underscores";
            return Err(wrong(problem.to_owned()));
        }
        in_range(&parameters, &values).map_err(wrong)?;
        let given = wgsl.as_deref().unwrap_or_default();
        let made = match wgsl {
            Some(_) if shader::declares(given, &format!("{name}_grad")) => String::new(),
            _ => formula.wgsl(&name, parameters.len(), wgsl.is_some()),
        };
        let text = shader::custom(&name, parameters.len(), given, &made)?;
        let definition = Definition {
            wgsl: format!("{given}\n{made}"),
            text,
            name,
            parameters,
            bounds,
            formulas: Box::new(formula),
        };
        Ok(Custom {
            definition: Arc::new(definition),
            values,
        })
    }
}

fn in_range(parameters: &[(String, Range)], values: &[f32]) -> std::result::Result<(), String> {
    for (i, ((name, range), &value)) in parameters.iter().zip(values).enumerate() {
        if !range.contains(value, values[i.saturating_sub(1)]) {
            return Err(format!("parameter {name} = {value} must be {range}"));
        }
    }
    Ok(())
}

impl PartialEq for Custom {
    /// Whether they are one definition with the same values.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.definition, &other.definition) && self.values == other.values
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Custom({self})")
    }
}

impl fmt::Display for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let parameters = self.definition.parameters.iter().zip(&self.values);
        for (i, ((name, _), value)) in parameters.enumerate() {
            let separator = if i == 0 { "(" } else { ", " };
            write!(f, "{separator}{name}={value}")?;
        }
        f.write_str(if self.values.is_empty() { "" } else { ")" })
    }
}
