//! A caller's WGSL, looked at before it is compiled.

use super::elementwise::Access;
use super::memory::Width;
use super::{ACTIVATIONS, ChainModule, Link, MATH};
use crate::element::DType;
use crate::error::{Error, Result};
use crate::few::Few;

/// Whether a text has a function of that name.
pub(crate) fn defines(text: &str, name: &str) -> bool {
    let after = text.split("fn ").skip(1);
    let mut names = after.map(|rest| rest.trim_start().split('(').next().unwrap_or_default());
    names.any(|found| found.trim() == name)
}

/// An error where `given`, the caller's, or `made` beside it is no WGSL of functions `name` and
/// `name_grad` of x and so many parameters.
pub(crate) fn validate_custom(
    name: &str,
    parameters: usize,
    given: &str,
    made: &str,
) -> Result<()> {
    let library = format!("{MATH}\n{ACTIVATIONS}\n");
    for function in [name.to_owned(), format!("{name}_grad")] {
        if defines(&library, &function) {
            return Err(Error::CustomFunction {
                function: name.to_owned(),
                problem: format!("the library has a function {function}; take another name"),
            });
        }
    }
    parsed(name, parameters, &library, given, made)?;
    // Among the functions and variables of the kernel that it becomes a part of.
    let module = |gradients| ChainModule {
        links: [Link::Custom(
            name.to_owned(),
            parameters,
            format!("{given}\n{made}").into(),
        )]
        .into(),
        operands: Few::default(),
        access: Access::single(Width::Four),
        dtypes: [DType::F32; 3],
        gradients,
    };
    for gradients in [None, Some(Few::default())] {
        let text = module(gradients).text();
        if let Some((before, _)) = text.split_once(given).filter(|_| !given.is_empty()) {
            checked(name, &text, before, given)?;
        } else {
            checked(name, &text, &text, "")?;
        }
    }
    Ok(())
}

/// The error of a text, with the line of the caller's part where it is there.
#[cfg(not(target_arch = "wasm32"))]
fn checked(name: &str, text: &str, before: &str, given: &str) -> Result<wgpu::naga::Module> {
    use wgpu::naga::front::wgsl;
    use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};
    let place = |offset: u32| -> (Option<u32>, String) {
        let offset = (offset as usize).checked_sub(before.len());
        match offset.filter(|&offset| offset <= given.len()) {
            Some(offset) => {
                let line = given[..offset].matches('\n').count();
                let text = given.lines().nth(line).unwrap_or_default();
                (Some(line as u32 + 1), text.trim().to_owned())
            }
            None => (None, String::new()),
        }
    };
    let shader = |line, text, problem| Error::CustomShader {
        function: name.to_owned(),
        line,
        text,
        problem,
    };
    let module = wgsl::parse_str(text).map_err(|error| {
        // The first of the places that is the caller's.
        let places = error.labels().filter_map(|(span, _)| span.to_range());
        let mut places = places.map(|range| place(range.start as u32));
        let own = places.find(|(line, _)| line.is_some());
        let (line, text) = own.unwrap_or((None, String::new()));
        shader(line, text, error.message().to_owned())
    })?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
    if let Err(error) = validator.validate(&module) {
        let places = error.spans().map(|(span, _)| *span);
        let places = places.filter_map(|span| span.to_range());
        let own = places.map(|range| place(range.start as u32));
        let own = own.into_iter().find(|(line, _)| line.is_some());
        let (line, text) = own.unwrap_or((None, String::new()));
        let mut problem = error.as_inner().to_string();
        let mut source = std::error::Error::source(error.as_inner());
        while let Some(inner) = source {
            problem = format!("{problem}: {inner}");
            source = inner.source();
        }
        return Err(shader(line, text, problem));
    }
    Ok(module)
}

/// Where no compiler is at hand, the browser's finds what is wrong.
#[cfg(target_arch = "wasm32")]
fn checked(_: &str, _: &str, _: &str, _: &str) -> Result<()> {
    Ok(())
}

#[cfg(target_arch = "wasm32")]
fn parsed(_: &str, _: usize, _: &str, _: &str, _: &str) -> Result<()> {
    Ok(())
}

/// An error where the functions do not compile, are missing, or take something else.
#[cfg(not(target_arch = "wasm32"))]
fn parsed(name: &str, parameters: usize, library: &str, given: &str, made: &str) -> Result<()> {
    use wgpu::naga::{Scalar, TypeInner};
    let module = checked(name, &format!("{library}{given}\n{made}"), library, given)?;
    for wanted in [name.to_owned(), format!("{name}_grad")] {
        let signature: Vec<String> = (0..parameters).map(|i| format!(", p{i}: f32")).collect();
        let signature = format!("fn {wanted}(x: f32{}) -> f32", signature.concat());
        let found = module.functions.iter().map(|(_, function)| function);
        let found = found
            .into_iter()
            .find(|function| function.name.as_deref() == Some(&wanted));
        let wrong = |problem| {
            let lines = given.lines().enumerate();
            let mut own = lines.filter(|(_, line)| defines(line, &wanted));
            let (line, text) = own.next().unzip();
            Error::CustomShader {
                function: name.to_owned(),
                line: line.map(|line| line as u32 + 1),
                text: text.unwrap_or_default().trim().to_owned(),
                problem,
            }
        };
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
    }
    Ok(())
}
