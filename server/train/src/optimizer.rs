//! AdamW over the adapter, with moments that can be saved, and clipping by the global norm.

use candle_core::{DType, Device, Tensor};
use whetstone_domain::RunConfig;
use whetstone_model::adapter::Adapter;
use whetstone_model::transformer::AdapterGradients;

use crate::error::{Result, TrainError};

/// torch.optim.AdamW in f32 (decoupled decay, bias-corrected moments, eps 1e-8).
#[derive(Debug, Clone)]
pub struct AdamW {
    beta1: f64,
    beta2: f64,
    weight_decay: f64,
    /// Updates made.
    pub updates: u64,
    /// First moments, one vector a tensor in the adapter's storage order.
    pub first: Vec<Vec<f32>>,
    /// Second moments.
    pub second: Vec<Vec<f32>>,
}

const EPS: f64 = 1e-8;

impl AdamW {
    /// Zero moments for `adapter`.
    pub fn new(config: &RunConfig, adapter: &Adapter) -> Self {
        let zeros: Vec<Vec<f32>> = adapter.named().iter().map(|(_, t)| vec![0.0; t.elem_count()]).collect();
        Self {
            beta1: config.adam_beta1,
            beta2: config.adam_beta2,
            weight_decay: config.weight_decay,
            updates: 0,
            first: zeros.clone(),
            second: zeros,
        }
    }

    /// One update of `adapter` by gradients in its storage order.
    pub fn update(&mut self, adapter: &mut Adapter, gradients: &[Vec<f32>], learning_rate: f64) -> Result<()> {
        self.updates += 1;
        let t = self.updates as f64;
        let (c1, c2) = (1.0 - self.beta1.powf(t), (1.0 - self.beta2.powf(t)).sqrt());
        let (b1, b2) = (self.beta1 as f32, self.beta2 as f32);
        let (rest1, rest2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let keep = (1.0 - learning_rate * self.weight_decay) as f32;
        let (rate, c2, eps) = ((learning_rate / c1) as f32, c2 as f32, EPS as f32);
        for (((tensor, g), m), v) in adapter.tensors_mut().zip(gradients).zip(&mut self.first).zip(&mut self.second) {
            let mut p: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                *m = b1 * *m + rest1 * g;
                *v = b2 * *v + rest2 * g * g;
                *p = *p * keep - rate * *m / (v.sqrt() / c2 + eps);
            }
            *tensor = Tensor::from_vec(p, tensor.shape(), tensor.device())?;
        }
        Ok(())
    }

    /// Moments with the names of the adapter's tensors, for a checkpoint.
    pub fn named(&self, adapter: &Adapter) -> Result<Vec<(String, Tensor)>> {
        let mut out = Vec::with_capacity(2 * self.first.len());
        for ((name, t), (m, v)) in adapter.named().iter().zip(self.first.iter().zip(&self.second)) {
            out.push((format!("first.{name}"), Tensor::from_slice(m, t.shape(), &Device::Cpu)?));
            out.push((format!("second.{name}"), Tensor::from_slice(v, t.shape(), &Device::Cpu)?));
        }
        Ok(out)
    }

    /// Takes the moments back from a checkpoint's tensors; a missing or misshapen one is named.
    pub fn restore(
        &mut self,
        adapter: &Adapter,
        tensors: &std::collections::HashMap<String, Tensor>,
        updates: u64,
    ) -> std::result::Result<(), String> {
        let take = |name: String, len: usize| -> std::result::Result<Vec<f32>, String> {
            let t = tensors.get(&name).ok_or_else(|| format!("tensor {name} is missing"))?;
            let values =
                t.flatten_all().and_then(|t| t.to_dtype(DType::F32)).and_then(|t| t.to_vec1::<f32>()).map_err(|e| e.to_string())?;
            if values.len() == len { Ok(values) } else { Err(format!("tensor {name} has {} numbers, not {len}", values.len())) }
        };
        for (i, (name, t)) in adapter.named().into_iter().enumerate() {
            self.first[i] = take(format!("first.{name}"), t.elem_count())?;
            self.second[i] = take(format!("second.{name}"), t.elem_count())?;
        }
        self.updates = updates;
        Ok(())
    }
}

/// Gradients as vectors in the adapter's storage order.
pub fn flatten(gradients: &AdapterGradients) -> Result<Vec<Vec<f32>>> {
    let mut out = Vec::with_capacity(gradients.len() * 14);
    for (a, b) in gradients.iter().flatten() {
        for t in [a, b] {
            out.push(t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
        }
    }
    Ok(out)
}

/// Adds `more` to `sum`, which may be empty.
pub fn accumulate(sum: &mut Vec<Vec<f32>>, more: Vec<Vec<f32>>) {
    if sum.is_empty() {
        *sum = more;
        return;
    }
    for (s, m) in sum.iter_mut().zip(more) {
        s.iter_mut().zip(m).for_each(|(s, m)| *s += m);
    }
}

/// Scales gradients down to `limit`, as torch's `clip_grad_norm_`; the norm before. Not finite is an error.
pub fn clip(gradients: &mut [Vec<f32>], limit: f64, step: usize, learning_rate: f64) -> Result<f64> {
    let norm = gradients.iter().flatten().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
    if !norm.is_finite() {
        return Err(TrainError::NotFinite { step, what: "the gradient norm", learning_rate });
    }
    let factor = (limit / (norm + 1e-6)).min(1.0) as f32;
    if factor < 1.0 {
        gradients.iter_mut().flatten().for_each(|g| *g *= factor);
    }
    Ok(norm)
}
