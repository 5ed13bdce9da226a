//! Initial weights for training from scratch, from one seed (SPEC section 7).

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use crate::config::Config;
use crate::params::{self, Init, ParamSpec};
use blocks::error::Result;
use blocks::seeded::stream;

/// Every tensor that a model of `config` reads, drawn from `seed`. A tensor's values depend on the seed, its name and its
/// shape alone, so a changed configuration changes no other tensor.
///
/// # Errors
/// Only where the device cannot hold the tensors.
pub fn parameters(config: &Config, seed: u64, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    params::parameters(config)
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|spec| {
            let tensor = Tensor::from_vec(draw(&spec, seed), spec.shape.as_slice(), device)?;
            Ok((spec.name, tensor))
        })
        .collect()
}

/// The values of one tensor, row-major.
pub fn draw(spec: &ParamSpec, seed: u64) -> Vec<f32> {
    let count: usize = spec.shape.iter().product();
    let mut rng = stream(seed, &spec.name);
    let normal = |rng: &mut ChaCha8Rng| -> f64 { StandardNormal.sample(rng) };
    match spec.init {
        Init::Zeros => vec![0.0; count],
        Init::Ones => vec![1.0; count],
        Init::Normal(std) => (0..count).map(|_| (normal(&mut rng) * std) as f32).collect(),
        Init::TruncatedNormal(std) => (0..count)
            .map(|_| {
                loop {
                    let value = normal(&mut rng) * std;
                    if value.abs() <= 2.0 {
                        return value as f32;
                    }
                }
            })
            .collect(),
        Init::Uniform(bound) => (0..count).map(|_| ((rng.random::<f64>() * 2.0 - 1.0) * bound) as f32).collect(),
    }
}
