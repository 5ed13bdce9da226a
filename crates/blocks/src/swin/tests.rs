//! Patch merging on maps of odd sides: the fused kernel and the composed operations agree.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::{PatchMerging, StageWindows};
use crate::canvas::Grid;

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_vec1()).expect("readable")
}

#[test]
fn maps_of_odd_sides_end_in_zeros() {
    let (device, channels) = (Device::Cpu, 6);
    let draw = |shape: &[usize]| {
        let values = (0..shape.iter().product::<usize>()).map(|i| (i as f32 * 1.7).sin() + 0.3).collect::<Vec<_>>();
        Tensor::from_vec(values, shape, &device).expect("drawn")
    };
    let weights = [("norm.weight", vec![24]), ("norm.bias", vec![24]), ("reduction.weight", vec![12, 24])];
    let weights: HashMap<String, Tensor> =
        weights.iter().map(|(name, shape)| ((*name).to_owned(), draw(shape))).collect();
    for (h, w) in [(5, 7), (4, 3), (5, 4), (1, 1), (2, 2)] {
        let (grid, x) = (Grid { h, w }, draw(&[2, h * w, channels]));
        let merged = |dtype: DType| {
            let cast = weights.iter().map(|(name, t)| Ok((name.clone(), t.to_dtype(dtype)?)));
            let vb = VarBuilder::from_tensors(cast.collect::<candle_core::Result<_>>()?, dtype, &device);
            // Not f32: composed of candle's operations.
            PatchMerging::new(&vb, channels)?.forward(&x.to_dtype(dtype)?, &StageWindows::new(grid, 7, &device))
        };
        let (fused, composed) = (merged(DType::F32).expect("fused"), merged(DType::F64).expect("composed"));
        assert_eq!(fused.dims(), [2, h.div_ceil(2) * w.div_ceil(2), 12]);
        let apart = values(&fused).into_iter().zip(values(&composed)).map(|(a, b)| (a - b).abs());
        let found = apart.fold(0.0, |most: f32, apart| if apart.is_nan() { f32::INFINITY } else { most.max(apart) });
        assert!(found < 1e-5, "{h}x{w} differ by {found}");
    }
}
