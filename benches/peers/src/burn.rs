//! burn, on its wgpu backend and its two CPU backends.

use crate::case::{Case, Direction, Inputs};
use crate::{About, Peer};
use burn::tensor::{Device, DeviceKind, Tensor, TensorData, activation};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

type Function = fn(Tensor<2>) -> Tensor<2>;

fn function(name: &str) -> Option<Function> {
    Some(match name {
        "sigmoid" => activation::sigmoid,
        "tanh" => activation::tanh,
        "gelu" => activation::gelu,
        "gelu_tanh" => activation::gelu_approximate,
        "silu" => activation::silu,
        "softplus" => |x| activation::softplus(x, 1.0),
        "mish" => activation::mish,
        "elu" => |x| activation::elu(x, 1.0),
        "relu" => activation::relu,
        "exp" => |x| x.exp(),
        "softmax" => |x| activation::softmax(x, 1),
        "log_softmax" => |x| activation::log_softmax(x, 1),
        _ => return None,
    })
}

pub struct Burn {
    name: &'static str,
    place: &'static str,
    device: Device,
    case: Option<(Function, Direction)>,
    x: Option<Tensor<2>>,
}

impl Burn {
    pub fn wgpu(software: bool) -> Self {
        let kind = if software {
            DeviceKind::Cpu
        } else {
            DeviceKind::DefaultDevice
        };
        Self::on("burn wgpu", "gpu", Device::wgpu(kind))
    }

    // Deprecated in favour of flex, and still what many use.
    #[expect(deprecated)]
    pub fn ndarray() -> Self {
        Self::on("burn ndarray", "cpu", Device::ndarray())
    }

    pub fn flex() -> Self {
        Self::on("burn flex", "cpu", Device::flex())
    }

    fn on(name: &'static str, place: &'static str, device: Device) -> Self {
        let (case, x) = (None, None);
        Self {
            name,
            place,
            device,
            case,
            x,
        }
    }

    /// A call, waited for. Its result lives until then, so that nothing is left out as unused.
    fn call(&self) -> Result<Tensor<2>, String> {
        let (f, direction) = self.case.ok_or("`prepare` comes first")?;
        let x = self.x.clone().ok_or("`prepare` comes first")?;
        let result = match direction {
            Direction::Forward => f(x),
            Direction::Backward => {
                let x = x.require_grad();
                let gradients = f(x.clone()).backward();
                x.grad(&gradients).ok_or("no gradient")?
            }
        };
        self.device.sync().map_err(|e| format!("{e:?}"))?;
        Ok(result)
    }

    /// burn panics where something goes wrong; that is its result here.
    fn caught<T>(&self, run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("it panicked".to_owned()))
    }
}

impl Peer for Burn {
    fn about(&self) -> About {
        About {
            name: self.name.to_owned(),
            version: "0.22".to_owned(),
            place: self.place.to_owned(),
            how: "output allocated; backward runs forward too".to_owned(),
        }
    }
    fn prepare(&mut self, case: &Case, inputs: &Inputs) -> Result<(), String> {
        let f = function(case.function).ok_or("no such function")?;
        self.case = Some((f, case.direction));
        let data = TensorData::new(
            inputs.x[..case.elements()].to_vec(),
            [case.rows, case.columns],
        );
        let device = match case.direction {
            Direction::Forward => self.device.clone(),
            Direction::Backward => self.device.clone().autodiff(),
        };
        self.x = Some(Tensor::from_data(data, &device));
        self.caught(|| self.call().map(drop))
    }
    fn time(&mut self, calls: u32) -> Result<Duration, String> {
        self.caught(|| {
            let start = Instant::now();
            for _ in 0..calls {
                self.call()?;
            }
            Ok(start.elapsed())
        })
    }
    fn result(&mut self) -> Result<Vec<f32>, String> {
        self.caught(|| {
            let data = self.call()?.into_data();
            data.try_to_vec::<f32>().map_err(|e| format!("{e:?}"))
        })
    }
}
