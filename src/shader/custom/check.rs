//! What is wrong with a caller's WGSL, told with its line.

use super::{CustomText, Names};
use crate::element::DType;
use crate::error::{Error, Result};
use crate::few::Few;
use crate::shader::elementwise::Access;
use crate::shader::memory::Width;
use crate::shader::{ACTIVATIONS, ChainModule, Link, MATH};
use std::ops::Range;
use wgpu::naga::front::wgsl;
use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};
use wgpu::naga::{Module, Scalar, TypeInner};

/// A caller's text, and what is made of it.
pub(super) struct Given<'a> {
    /// The function's name.
    pub name: &'a str,
    pub text: &'a str,
    /// The text with prefixes, line by line the same, with which that of `function` begins.
    pub own: &'a str,
    pub prefix: &'a str,
    pub function: &'a CustomText,
}

impl Given<'_> {
    /// An error where it is no WGSL of the function and its derivative.
    pub(super) fn check(&self) -> Result<()> {
        let module = self.compiled(&format!("{MATH}\n{ACTIVATIONS}\n{}", self.function.text))?;
        let mut variables = module.global_variables.iter();
        if let Some((_, bound)) = variables.find(|(_, variable)| variable.binding.is_some()) {
            let problem = "a function has no bindings; parameters are its arguments".to_owned();
            return Err(self.error(self.line_of(bound.name.as_deref()), problem));
        }
        for name in [self.name.to_owned(), format!("{}_grad", self.name)] {
            self.signature(&module, &name)?;
        }
        // Among the functions and variables of the kernel that it becomes a part of.
        for gradients in [None, Some(Few::default())] {
            let module = ChainModule {
                links: [Link::Custom(self.function.clone())].into(),
                operands: Few::default(),
                access: Access::single(Width::Four),
                dtypes: [DType::F32; 3],
                gradients,
            };
            self.compiled(&module.text())?;
        }
        Ok(())
    }

    /// An error where a function is missing or takes something else.
    fn signature(&self, module: &Module, name: &str) -> Result<()> {
        let parameters = self.function.parameters;
        let arguments: String = (0..parameters).map(|i| format!(", p{i}: f32")).collect();
        let signature = format!("fn {name}(x: f32{arguments}) -> f32");
        let wanted = format!("{}{name}", self.prefix);
        let wrong = |problem| self.error(self.line_of(Some(&wanted)), problem);
        let mut functions = module.functions.iter().map(|(_, function)| function);
        let found = functions.find(|function| function.name.as_deref() == Some(&wanted));
        let Some(function) = found else {
            return Err(wrong(format!("there must be a function {signature}")));
        };
        let is_f32 = |ty| module.types[ty].inner == TypeInner::Scalar(Scalar::F32);
        let arguments = &function.arguments;
        let right = arguments.len() == 1 + parameters
            && arguments.iter().all(|argument| is_f32(argument.ty))
            && function
                .result
                .as_ref()
                .is_some_and(|result| is_f32(result.ty));
        if !right {
            return Err(wrong(format!("the function must be {signature}")));
        }
        Ok(())
    }

    /// A module with the text in it, which must be WGSL.
    fn compiled(&self, module: &str) -> Result<Module> {
        // Its function's name is nowhere else.
        let start = module.find(&*self.function.text).unwrap_or(module.len());
        // The first of the places that is the caller's.
        let line = |places: &mut dyn Iterator<Item = Range<usize>>| {
            let mut own = places.filter_map(|place| {
                let place = place.start.checked_sub(start)?;
                let before = self.own.get(..place)?;
                Some(before.matches('\n').count())
            });
            own.next()
        };
        let parsed = wgsl::parse_str(module).map_err(|error| {
            let mut places = error.labels().filter_map(|(span, _)| span.to_range());
            self.error(line(&mut places), error.message().to_owned())
        })?;
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
        if let Err(error) = validator.validate(&parsed) {
            let mut places = error.spans().filter_map(|(span, _)| span.to_range());
            let mut problem = error.as_inner().to_string();
            let mut source = std::error::Error::source(error.as_inner());
            while let Some(inner) = source {
                problem = format!("{problem}: {inner}");
                source = inner.source();
            }
            return Err(self.error(line(&mut places), problem));
        }
        Ok(parsed)
    }

    /// The line that declares a name of the module's, from 0.
    fn line_of(&self, name: Option<&str>) -> Option<usize> {
        Names::of(self.text).line_of(name?.strip_prefix(self.prefix)?)
    }

    /// An error of a line, in the caller's own names.
    fn error(&self, line: Option<usize>, problem: String) -> Error {
        let text = line.and_then(|line| self.text.lines().nth(line));
        Error::CustomShader {
            function: self.name.to_owned(),
            line: line.map(|line| line as u32 + 1),
            text: text.unwrap_or_default().trim().to_owned(),
            problem: problem.replace(self.prefix, ""),
        }
    }
}
