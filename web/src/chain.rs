//! Several steps that are computed as one.

use crate::Native;
use crate::arrays::Held;
use crate::error::raised;
use js_sys::{Array as List, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use wgpu_activations::Chain;

fn parsed(text: &str) -> Result<Chain, JsValue> {
    text.parse().map_err(raised)
}

/// A chain's text as the library writes it, and how many operands it takes.
#[wasm_bindgen]
pub fn chain(text: &str) -> Result<List, JsValue> {
    let chain = parsed(text)?;
    let operands = chain.operands() as f64;
    Ok(List::of2(&chain.to_string().into(), &operands.into()))
}

#[wasm_bindgen]
impl Native {
    /// The value of a chain; with dy, the gradients by x and by each operand. What is given is read before this
    /// returns.
    pub fn run_chain(
        &self,
        text: String,
        x: JsValue,
        operands: List,
        dy: JsValue,
    ) -> Result<Promise, JsValue> {
        let backend = self.0.clone();
        let (chain, x) = (parsed(&text)?, Held::new(&x)?);
        let held = operands.iter().map(|operand| Held::new(&operand));
        let held: Vec<Held> = held.collect::<Result<_, _>>()?;
        let dy = match dy.is_undefined() {
            true => None,
            false => Some(Held::new(&dy)?),
        };
        Ok(future_to_promise(async move {
            let shapes: Vec<Vec<usize>> = held.iter().map(Held::shape).collect();
            let operands = held.iter().zip(&shapes);
            let operands = operands.map(|(held, shape)| Ok((held.f32()?, &shape[..])));
            let operands: Vec<(&[f32], &[usize])> = operands.collect::<Result<_, JsValue>>()?;
            let (shape, numbers) = (x.shape(), x.f32()?);
            let result = |numbers: Vec<f32>, shape: &[usize]| Held::of(numbers, shape).given();
            let Some(dy) = dy else {
                let y = backend.apply_chain_async(&chain, numbers, &shape, &operands);
                let y = y.await.map_err(raised)?;
                return Ok(List::of1(&result(y, &shape)).into());
            };
            let gradients = backend.grad_chain_async(&chain, numbers, &shape, &operands, dy.f32()?);
            let (dx, others) = gradients.await.map_err(raised)?;
            let all = List::of1(&result(dx, &shape));
            for (gradient, shape) in others.into_iter().zip(&shapes) {
                all.push(&result(gradient, shape));
            }
            Ok(all.into())
        }))
    }
}
