//! candle, on its CPU backend.

use crate::case::{Case, Direction, Inputs};
use crate::{About, Peer};
use candle_core::{Device, Result, Tensor, Var};
use candle_nn::ops;
use std::time::{Duration, Instant};

type Function = fn(&Tensor) -> Result<Tensor>;

fn function(name: &str, direction: Direction) -> Option<Function> {
    Some(match (name, direction) {
        ("sigmoid", _) => ops::sigmoid,
        ("tanh", _) => Tensor::tanh,
        ("gelu", _) => Tensor::gelu_erf,
        ("gelu_tanh", _) => Tensor::gelu,
        ("silu", _) => Tensor::silu,
        ("mish", _) => ops::mish,
        ("elu", _) => |x| x.elu(1.0),
        ("relu", _) => Tensor::relu,
        ("exp", _) => Tensor::exp,
        // The faster one has no gradient.
        ("softmax", Direction::Forward) => ops::softmax_last_dim,
        ("softmax", Direction::Backward) => |x| ops::softmax(x, 1),
        ("log_softmax", _) => |x| ops::log_softmax(x, 1),
        _ => return None,
    })
}

#[derive(Default)]
pub struct Candle {
    case: Option<(Function, Direction)>,
    x: Option<Var>,
}

impl Candle {
    pub fn new() -> Self {
        Self::default()
    }

    fn call(&self) -> std::result::Result<Tensor, String> {
        let (f, direction) = self.case.ok_or("`prepare` comes first")?;
        let x = self.x.as_ref().ok_or("`prepare` comes first")?;
        let result = match direction {
            Direction::Forward => f(&x.as_detached_tensor()),
            Direction::Backward => {
                f(x.as_tensor())
                    .and_then(|y| y.backward())
                    .and_then(|mut gradients| {
                        let gradient = gradients.remove(x.as_tensor());
                        gradient.ok_or_else(|| candle_core::Error::Msg("no gradient".to_owned()))
                    })
            }
        };
        result.map_err(|e| e.to_string())
    }
}

impl Peer for Candle {
    fn about(&self) -> About {
        About {
            name: "candle".to_owned(),
            version: "0.11".to_owned(),
            place: "cpu".to_owned(),
            how: "output allocated; backward runs forward too".to_owned(),
        }
    }
    fn prepare(&mut self, case: &Case, inputs: &Inputs) -> std::result::Result<(), String> {
        let f = function(case.function, case.direction).ok_or("no such function")?;
        self.case = Some((f, case.direction));
        let x = inputs.x[..case.elements()].to_vec();
        let x = Var::from_vec(x, (case.rows, case.columns), &Device::Cpu);
        self.x = Some(x.map_err(|e| e.to_string())?);
        self.call().map(drop)
    }
    fn time(&mut self, calls: u32) -> std::result::Result<Duration, String> {
        let start = Instant::now();
        for _ in 0..calls {
            self.call()?;
        }
        Ok(start.elapsed())
    }
    fn result(&mut self) -> std::result::Result<Vec<f32>, String> {
        let all = self.call()?.flatten_all();
        all.and_then(|y| y.to_vec1()).map_err(|e| e.to_string())
    }
}
