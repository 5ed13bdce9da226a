//! Each kernel against the composed operation, values and gradients, and against finite differences.

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::RngExt;

use super::gather::{RowMap, ZERO_ROW, gather_rows};
use crate::init::stream;
use crate::ops::{self, composed};

/// Uniform values in ±`range` that depend on the name alone.
fn values(name: &str, shape: &[usize], range: f32) -> Tensor {
    let mut rng = stream(1, name);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * range).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")
}

fn difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    (a.to_dtype(DType::F32).expect("cast") - b.to_dtype(DType::F32).expect("cast"))
        .and_then(|d| d.abs()?.flatten_all()?.max(0)?.to_scalar())
        .expect("a number")
}

type Operation<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Value and gradients of `sum(operation(inputs) * weights)`, with fixed weights that differ everywhere.
fn run(operation: Operation, inputs: &[Tensor]) -> (Tensor, Vec<Tensor>) {
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).expect("a variable")).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let result = operation(&tensors).expect("runs");
    let weights = values("weights", result.dims(), 1.0).to_dtype(result.dtype()).expect("cast");
    let loss = (&result * weights).and_then(|t| t.sum_all()).expect("a loss");
    let grads = loss.backward().expect("runs back");
    let gradients = vars.iter().map(|v| grads.get(v).expect("a gradient").clone()).collect();
    (result, gradients)
}

/// Holds `kernel` to `reference` in f64: f32 rounding is all that may differ.
fn compare(name: &str, kernel: Operation, reference: Operation, inputs: &[Tensor], limit: f32) {
    let wide: Vec<Tensor> = inputs.iter().map(|t| t.to_dtype(DType::F64).expect("cast")).collect();
    let ((a, da), (b, db)) = (run(kernel, inputs), run(reference, &wide));
    let found = difference(&a, &b);
    assert!(found <= limit, "{name}: values differ by {found}");
    for (i, (a, b)) in da.iter().zip(&db).enumerate() {
        let largest: f32 =
            b.abs().and_then(|t| t.flatten_all()?.max(0)?.to_dtype(DType::F32)?.to_scalar()).expect("a number");
        let found = difference(a, b) / largest.max(1.0);
        assert!(found <= limit, "{name}: gradient {i} differs by {found} of {largest}");
    }
}

/// How far central differences step.
const STEP: f64 = 1e-5;

/// Central differences of the summed result in a few elements of every input, in f64 on the reference path.
fn differences(name: &str, kernel: Operation, reference: Operation, inputs: &[Tensor]) {
    let (_, gradients) = run(kernel, inputs);
    let loss = |inputs: &[Tensor]| -> f64 {
        let result = reference(inputs).expect("runs");
        let weights = values("weights", result.dims(), 1.0).to_dtype(DType::F64).expect("cast");
        (result * weights).and_then(|t| t.sum_all()?.to_scalar()).expect("a number")
    };
    let wide: Vec<Tensor> = inputs.iter().map(|t| t.to_dtype(DType::F64).expect("cast")).collect();
    for (i, input) in wide.iter().enumerate() {
        let flat: Vec<f64> = input.flatten_all().and_then(|t| t.to_vec1()).expect("values");
        for element in [0, flat.len() / 3, flat.len() - 1] {
            let moved = |by: f64| {
                let mut flat = flat.clone();
                flat[element] += by;
                let mut inputs = wide.clone();
                inputs[i] = Tensor::from_vec(flat, input.shape(), &Device::Cpu).expect("a tensor");
                loss(&inputs)
            };
            let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let gradient: Vec<f32> = gradients[i].flatten_all().and_then(|t| t.to_vec1()).expect("values");
            let found = f64::from(gradient[element]);
            let close = (found - expected).abs() <= 1e-3 * expected.abs().max(0.1);
            assert!(close, "{name}: input {i}, element {element}: gradient {found}, finite difference {expected}");
        }
    }
}

fn both(name: &str, kernel: Operation, reference: Operation, inputs: &[Tensor]) {
    compare(name, kernel, reference, inputs, 2e-5);
    differences(name, kernel, reference, inputs);
}

#[test]
fn gelu() {
    let reference: Operation = &|t| t[0].gelu_erf();
    for shape in [&[3, 37][..], &[40000]] {
        both("gelu", &|t| ops::gelu(&t[0]), reference, &[values("x", shape, 6.0)]);
    }
    let far = Tensor::new(&[-1e4f32, -30.0, -6.0, -0.0, 0.0, 6.0, 30.0, 1e4], &Device::Cpu).expect("a tensor");
    compare("gelu far out", &|t| ops::gelu(&t[0]), reference, &[far], 1e-3);
}

#[test]
fn layer_norm() {
    for width in [1, 7, 16, 48, 100, 768] {
        let inputs = [values("x", &[2, 33, width], 3.0), values("w", &[width], 1.0), values("b", &[width], 1.0)];
        let eps = 1e-5;
        let (kernel, reference): (Operation, Operation) =
            (&|t| ops::layer_norm(&t[0], &t[1], &t[2], eps), &|t| composed::layer_norm(&t[0], &t[1], &t[2], eps));
        compare("layer norm", kernel, reference, &inputs, 5e-5);
        if width > 1 {
            differences("layer norm", kernel, reference, &inputs);
        }
    }
}

#[test]
fn softmax() {
    for width in [1, 5, 16, 49, 300] {
        both("softmax", &|t| ops::softmax(&t[0]), &|t| composed::softmax(&t[0]), &[values("x", &[4, 9, width], 8.0)]);
    }
    let masked = Tensor::new(&[[1.0f32, -1e9, 2.0, f32::NEG_INFINITY]], &Device::Cpu).expect("a tensor");
    let weights: Vec<f32> = ops::softmax(&masked).and_then(|t| t.flatten_all()?.to_vec1()).expect("values");
    assert_eq!((weights[1], weights[3]), (0.0, 0.0), "a masked key has no weight at all");
    assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
}

#[test]
fn linear() {
    for (rows, input, output) in [(1, 3, 5), (50, 24, 96), (700, 40, 7)] {
        let inputs =
            [values("x", &[2, rows, input], 1.0), values("w", &[output, input], 1.0), values("b", &[output], 1.0)];
        let reference: Operation = &|t| {
            let (batch, rows, input) = t[0].dims3()?;
            let flat = composed::linear(&t[0].reshape((batch * rows, input))?, &t[1], Some(&t[2]))?;
            flat.reshape((batch, rows, t[1].dim(0)?))
        };
        both("linear", &|t| ops::linear(&t[0], &t[1], Some(&t[2])), reference, &inputs);
    }
}

#[test]
fn window_attention() {
    for (windows, side, heads, depth, masked) in
        [(6, 2, 1, 4, false), (8, 4, 3, 8, true), (9, 7, 2, 32, false), (4, 5, 2, 24, true)]
    {
        let area = side * side;
        let inputs =
            [values("qkv", &[windows, area, 3 * heads * depth], 1.0), values("bias", &[heads, area, area], 1.0)];
        let mask = (values("mask", &[windows / 2, area, area], 1.0)
            .gt(0.3)
            .expect("flags")
            .to_dtype(DType::F32)
            .expect("cast")
            * -100.0)
            .expect("a mask");
        let mask = masked.then_some(mask);
        let shift = mask.clone().map(|mask| ops::ShiftMask::new(mask).expect("values"));
        let wide = mask.as_ref().map(|m| m.to_dtype(DType::F64).expect("cast"));
        let (kernel, reference): (Operation, Operation) =
            (&|t| ops::window_attention(&t[0], &t[1], shift.as_ref()), &|t| {
                composed::window_attention(&t[0], &t[1], wide.as_ref())
            });
        both("window attention", kernel, reference, &inputs);
    }
}

#[test]
fn pooled_tokens() {
    let (kernel, reference): (Operation, Operation) = (&|t| ops::pool_tokens(&t[0]), &|t| composed::pool_tokens(&t[0]));
    for shape in [[1, 1, 3], [2, 50, 7], [3, 64, 16]] {
        both("pool", kernel, reference, &[values("x", &shape, 2.0)]);
    }
    // Equal tokens, as padding makes them: one of them takes the maximum's gradient, all share the mean's.
    let x = Tensor::ones((1, 5, 2), DType::F32, &Device::Cpu).expect("a tensor");
    for operation in [kernel, reference] {
        let var = Var::from_tensor(&x).expect("a variable");
        let largest = operation(&[var.as_tensor().clone()]).and_then(|t| t.narrow(1, 1, 1)).expect("runs");
        let grads = largest.sum_all().and_then(|t| t.backward()).expect("runs back");
        let gradient: Vec<f32> =
            grads.get(&var).expect("a gradient").flatten_all().and_then(|t| t.to_vec1()).expect("values");
        assert_eq!(
            (gradient.iter().sum::<f32>(), gradient.iter().filter(|g| **g > 0.0).count()),
            (2.0, 2),
            "{gradient:?}"
        );
    }
}

#[test]
fn gathered_rows() {
    let map = RowMap::new(vec![2, ZERO_ROW, 0, 4, 1, ZERO_ROW], 5);
    let reference: Operation = &|t| {
        let zero = t[0].narrow(1, 0, 1)?.zeros_like()?;
        let row = |i: usize| t[0].narrow(1, i, 1);
        Tensor::cat(&[row(2)?, zero.clone(), row(0)?, row(4)?, row(1)?, zero], 1)
    };
    let x = values("x", &[3, 5, 7], 1.0);
    both("gather", &|t| gather_rows(&t[0], &map), reference, std::slice::from_ref(&x));
    let back = gather_rows(&gather_rows(&x, &map).expect("there"), &map.inverse()).expect("back");
    let rows =
        |t: &Tensor| t.index_select(&Tensor::new(&[0u32, 1, 2, 4], &Device::Cpu).expect("rows"), 1).expect("picked");
    assert!(difference(&rows(&back), &rows(&x)) <= 0.0, "exactly the same rows");
}

#[test]
fn equal_input_gives_equal_bytes_on_any_number_of_threads() {
    let qkv = values("qkv", &[64, 16, 3 * 32], 1.0);
    let bias = values("bias", &[2, 16, 16], 1.0);
    let (w, b) = (values("w", &[32], 1.0), values("b", &[32], 1.0));
    let once = |threads: usize| -> Vec<Vec<f32>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let operation = |t: &[Tensor]| ops::layer_norm(&ops::window_attention(&t[0], &t[1], None)?, &t[2], &t[3], 1e-5);
        let inputs = [qkv.clone(), bias.clone(), w.clone(), b.clone()];
        pool.install(|| run(&operation, &inputs).1)
            .iter()
            .map(|t| t.flatten_all().and_then(|t| t.to_vec1()).expect("values"))
            .collect()
    };
    assert_eq!(once(1), once(2));
    assert_eq!(once(1), once(7));
}
