//! Each kernel against the composed operation, values and gradients, and against finite differences.

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::RngExt;

use super::gather::{RowMap, ZERO_ROW, gather_rows};
use crate::ops::{self, Activation, NormPlace, composed};
use crate::seeded::stream;

/// Uniform values in ±`range` that depend on the name alone.
pub(super) fn values(name: &str, shape: &[usize], range: f32) -> Tensor {
    let mut rng = stream(1, name);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * range).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")
}

pub(super) fn difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    (a.to_dtype(DType::F32).expect("cast") - b.to_dtype(DType::F32).expect("cast"))
        .and_then(|d| d.abs()?.flatten_all()?.max(0)?.to_scalar())
        .expect("a number")
}

pub(super) type Operation<'a> = &'a (dyn Fn(&[Tensor]) -> Result<Tensor> + Sync);

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

pub(super) fn both(name: &str, kernel: Operation, reference: Operation, inputs: &[Tensor]) {
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
fn linear_of_many_tasks() {
    for (rows, input, output) in [(3000, 48, 24), (2500, 200, 30)] {
        let inputs = [values("x", &[rows, input], 1.0), values("w", &[output, input], 1.0)];
        let (kernel, reference): (Operation, Operation) =
            (&|t| ops::linear(&t[0], &t[1], None), &|t| composed::linear(&t[0], &t[1], None));
        compare("linear", kernel, reference, &inputs, 2e-5);
    }
}

#[test]
fn linear_onto_upsampled() {
    for (height, columns, input, output) in [(2, 2, 3, 5), (6, 4, 24, 16), (32, 32, 8, 40)] {
        let inputs = [
            values("x", &[3, height * columns, input], 1.0),
            values("w", &[output, input], 1.0),
            values("b", &[output], 1.0),
            values("coarse", &[3, height * columns / 4, output], 1.0),
        ];
        let reference: Operation = &|t| {
            let weight = t[1].unsqueeze(0)?.broadcast_as((3, output, input))?.transpose(1, 2)?.contiguous()?;
            t[0].matmul(&weight)?.broadcast_add(&t[2])? + composed::upsample2(&t[3], columns / 2)?
        };
        let kernel: Operation = &|t| ops::linear_onto_upsampled(&t[0], &t[1], &t[2], &t[3], columns);
        both("linear onto upsampled", kernel, reference, &inputs);
    }
}

#[test]
fn mlp() {
    for place in [NormPlace::Before, NormPlace::After] {
        for activation in [Activation::Gelu, Activation::Relu] {
            for (rows, width, hidden) in [(1, 8, 16), (37, 24, 96), (600, 7, 20)] {
                let inputs = [
                    values("x", &[2, rows, width], 2.0),
                    values("norm w", &[width], 1.0),
                    values("norm b", &[width], 0.5),
                    values("w1", &[hidden, width], 0.5),
                    values("b1", &[hidden], 0.5),
                    values("w2", &[width, hidden], 0.5),
                    values("b2", &[width], 0.5),
                ];
                let weights = |t: &[Tensor]| -> [Tensor; 7] { std::array::from_fn(|i| t[i].clone()) };
                let run = |t: &[Tensor], operation: fn(&Tensor, &ops::Mlp) -> Result<Tensor>| {
                    let [x, nw, nb, w1, b1, w2, b2] = &weights(t);
                    let mlp =
                        ops::Mlp { norm: (nw, nb), eps: 1e-5, first: (w1, b1), second: (w2, b2), place, activation };
                    operation(x, &mlp)
                };
                let (kernel, reference): (Operation, Operation) = (&|t| run(t, ops::mlp), &|t| run(t, composed::mlp));
                compare("mlp", kernel, reference, &inputs, 5e-5);
                if rows < 600 {
                    differences("mlp", kernel, reference, &inputs);
                }
            }
        }
    }
}

#[test]
fn attention() {
    // Channels of the parts in units of the width: q, k and v apart, two together, all together, and few queries.
    for (queries, keys, heads, depth, shares, masked) in [
        (1, 1, 1, 3, &[1, 1, 1][..], false),
        (35, 35, 4, 24, &[2, 1], true),
        (14, 14, 2, 32, &[1, 1, 1], true),
        (21, 21, 3, 8, &[3], false),
        (1, 40, 2, 16, &[1, 2], true),
    ] {
        let width = heads * depth;
        let inputs: Vec<Tensor> = shares
            .iter()
            .enumerate()
            .map(|(i, share)| {
                let length = if i == 0 { queries } else { keys };
                values(&format!("part {i}"), &[2, length, share * width], 1.0)
            })
            .collect();
        let ignore: Vec<u8> = (0..2 * keys).map(|i| u8::from(i % keys > 0 && i % 3 == 1)).collect();
        let ignore = Tensor::from_vec(ignore, (2, keys), &Device::Cpu).expect("flags");
        let mask = |dtype| masked.then(|| ops::additive_mask(&ignore, dtype).expect("a mask"));
        let (narrow, wide) = (mask(DType::F32), mask(DType::F64));
        let parts = |t: &[Tensor]| t.to_vec();
        let (kernel, reference): (Operation, Operation) =
            (&|t| ops::attention(&parts(t).iter().collect::<Vec<_>>(), narrow.as_ref(), heads), &|t| {
                composed::attention(&parts(t).iter().collect::<Vec<_>>(), wide.as_ref(), heads)
            });
        both("attention", kernel, reference, &inputs);
        let with_weights: Operation = &|t| {
            let parts: Vec<&Tensor> = t.iter().collect();
            let (y, _) = ops::attention_with_weights(&parts, narrow.as_ref(), heads, |w| Ok(w.clone()))?;
            Ok(y)
        };
        compare("attention with weights", with_weights, reference, &inputs, 2e-5);
    }
}

#[test]
fn gates() {
    for (queries, height, columns, width, hidden) in [(3, 2, 2, 5, 2), (1, 4, 6, 16, 1), (3, 12, 8, 40, 4)] {
        let inputs = [
            values("x", &[3, height * columns, width], 1.0),
            values("fc1", &[queries, width + 1, hidden], 1.0),
            values("fc2", &[queries, hidden + 1, width], 1.0),
            values("spatial", &[queries, width + 1, 1], 1.0),
            values("onto", &[3, height * columns / 4, width], 1.0),
        ];
        let (kernel, reference): (Operation, Operation) =
            (&|t| ops::gates(&t[0], [&t[1], &t[2], &t[3]]), &|t| composed::gates(&t[0], [&t[1], &t[2], &t[3]]));
        both("gates", kernel, reference, &inputs[..4]);
        let (kernel, reference): (Operation, Operation) =
            (&|t| ops::gates_halved(&t[0], [&t[1], &t[2], &t[3]], &t[4], columns), &|t| {
                &t[4] + composed::mean_pool2(&composed::gates(&t[0], [&t[1], &t[2], &t[3]])?, columns)?
            });
        both("gates halved", kernel, reference, &inputs);
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

/// Equal tokens, as padding makes them: one of them takes the maximum's gradient, all share the mean's.
#[test]
fn the_maximum_of_equal_tokens_has_one_gradient() {
    let x = Tensor::ones((1, 5, 2), DType::F32, &Device::Cpu).expect("a tensor");
    let var = Var::from_tensor(&x).expect("a variable");
    let largest = composed::pool_tokens(&var).and_then(|t| t.narrow(1, 1, 1)).expect("runs");
    let grads = largest.sum_all().and_then(|t| t.backward()).expect("runs back");
    let gradient: Vec<f32> =
        grads.get(&var).expect("a gradient").flatten_all().and_then(|t| t.to_vec1()).expect("values");
    assert_eq!((gradient.iter().sum::<f32>(), gradient.iter().filter(|g| **g > 0.0).count()), (2.0, 2), "{gradient:?}");
    // The fused gates pick the same token.
    let matrices = [("fc1", [1, 3, 2]), ("fc2", [1, 3, 2]), ("spatial", [1, 3, 1])].map(|(n, s)| values(n, &s, 1.0));
    let [fc1, fc2, spatial] = matrices;
    let (kernel, reference): (Operation, Operation) =
        (&|t| ops::gates(&t[0], [&t[1], &t[2], &t[3]]), &|t| composed::gates(&t[0], [&t[1], &t[2], &t[3]]));
    both("gates of equal tokens", kernel, reference, &[x, fc1, fc2, spatial]);
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
    let once = |threads: usize, operation: Operation, inputs: &[Tensor]| -> Vec<Vec<f32>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let (result, mut gradients) = pool.install(|| run(operation, inputs));
        gradients.push(result);
        gradients.iter().map(|t| t.flatten_all().and_then(|t| t.to_vec1()).expect("values")).collect()
    };
    let same = |name: &str, operation: Operation, inputs: &[Tensor]| {
        let one = once(1, operation, inputs);
        assert!([2, 7].iter().all(|&threads| once(threads, operation, inputs) == one), "{name}");
    };
    let qkv = values("qkv", &[64, 16, 3 * 32], 1.0);
    let bias = values("bias", &[2, 16, 16], 1.0);
    let (w, b) = (values("w", &[32], 1.0), values("b", &[32], 1.0));
    same(
        "windows and norm",
        &|t| ops::layer_norm(&ops::window_attention(&t[0], &t[1], None)?, &t[2], &t[3], 1e-5),
        &[qkv, bias, w, b],
    );
    // Sizes of one task, whose products run on all threads, and of many.
    for (rows, width, hidden) in [(300, 192, 768), (5000, 24, 96)] {
        let inputs = [
            values("x", &[rows, width], 2.0),
            values("w1", &[hidden, width], 0.5),
            values("b1", &[hidden], 0.5),
            values("w2", &[width, hidden], 0.5),
            values("b2", &[width], 0.5),
        ];
        let operation: Operation = &|t| {
            let (first, second) = ((&t[1], &t[2]), (&t[3], &t[4]));
            let (place, activation) = (NormPlace::After, Activation::Gelu);
            let hidden = ops::linear(&t[0], first.0, Some(first.1))?;
            let x = ops::linear(&hidden, second.0, Some(second.1))?;
            ops::mlp(&x, &ops::Mlp { norm: (&t[4], &t[4]), eps: 1e-5, first, second, place, activation })
        };
        same("mlp and linear", operation, &inputs);
    }
    let inputs = [
        values("x", &[3, 32 * 32, 24], 1.0),
        values("fc1", &[1, 25, 2], 1.0),
        values("fc2", &[1, 3, 24], 1.0),
        values("spatial", &[1, 25, 1], 1.0),
        values("w", &[24, 24], 1.0),
    ];
    let operation: Operation = &|t| {
        let gates = [&t[1], &t[2], &t[3]];
        let half = ops::gates_halved(&t[0], gates, &t[0].narrow(1, 0, 256)?, 32)?;
        let x = ops::linear_onto_upsampled(&t[0], &t[4], &t[4].get(0)?, &half, 32)?;
        ops::attention(&[&ops::gates(&x, gates)?.narrow(1, 0, 50)?], None, 2)
    };
    same("gates and attention", operation, &inputs);
}

/// The CUDA kernel's arithmetic, compiled for the host: what a machine without a GPU can say of it.
#[test]
fn the_cuda_kernel_computes_what_the_cpu_does() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("kernel");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops/cuda/window_attention.cu");
    let built = Command::new("g++").args(["-O2", "-DSPOTTER_HOST", "-x", "c++", source, "-o"]).arg(&program).status();
    assert!(built.expect("g++ is needed to compile the kernel for the host").success());
    let (windows, area, heads, depth) = (6, 49, 3, 8);
    let qkv = values("qkv", &[windows, area, 3 * heads * depth], 2.0);
    let bias = values("bias", &[heads, area, area], 1.0);
    let mask = values("mask", &[3, area, area], 3.0);
    let elements = |tensor: &Tensor| -> Vec<f32> { tensor.flatten_all().and_then(|t| t.to_vec1()).expect("values") };
    for mask in [Some(&mask), None] {
        let mut input: Vec<u8> = Vec::new();
        for number in [area, heads, windows, mask.map_or(0, |_| 3)] {
            input.extend((number as i32).to_ne_bytes());
        }
        let tensors = [Some(&qkv), Some(&bias), mask];
        input.extend(tensors.into_iter().flatten().flat_map(elements).flat_map(f32::to_ne_bytes));
        let mut child =
            Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the kernel starts");
        child.stdin.take().expect("piped").write_all(&input).expect("heard");
        let output = child.wait_with_output().expect("ends");
        assert!(output.status.success());
        let found: Vec<f32> = output.stdout.as_chunks::<4>().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect();
        let expected = elements(&composed::window_attention(&qkv, &bias, mask).expect("runs"));
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-5, "{a}, expected {b}");
        }
    }
}
