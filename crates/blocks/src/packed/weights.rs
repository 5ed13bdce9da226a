//! Where the weights of a compiled frame come from, by a file's names: a file of packed ones, where they are used as
//! they lie, or the model's own, which are packed when they are read.

use candle_core::{Result, Shape, Tensor};
use candle_nn::VarBuilder;

use crate::checkpoint::TensorFile;
use crate::checkpoint::packed::PackedFile;
use crate::ops::kernel::dense::{Arithmetic, Dense};
use crate::ops::kernel::int8;
use crate::ops::kernel::product::Packed;

/// A tensor's values, row-major.
pub fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// `weight [O, ..]`, all of whose other axes are inputs, and `bias [O]`, packed for products in f32, in half the memory where that
/// changes nothing: of what is no tensor of a file as it is.
pub fn packed(weight: &Tensor, bias: Option<&Tensor>) -> Result<Packed> {
    let bias = bias.map(values).transpose()?;
    Ok(Packed::new(&values(weight)?, bias.as_deref(), weight.elem_count() / weight.dim(0)?).halved())
}

/// Looks at a packed weight and its name.
pub type SeenWeight<'a> = dyn Fn(&str, &Dense) -> crate::Result<()> + 'a;

/// What there is beside the tensors.
#[derive(Clone, Copy, Default)]
pub struct Sources<'a> {
    /// The model's file, which may hold weights in bytes as they are multiplied.
    pub file: Option<&'a TensorFile>,
    /// Its packed weights.
    pub packed: Option<&'a PackedFile>,
    /// Is shown every packed weight, with its name.
    pub seen: Option<&'a SeenWeight<'a>>,
    /// Whether weights in f32 that numbers of two bytes hold exactly are kept in these: half of the memory, for a few hundredths of
    /// the time.
    pub halved: bool,
}

/// The weights below some prefix.
#[derive(Clone)]
pub struct Weights<'a> {
    vb: VarBuilder<'a>,
    sources: Sources<'a>,
}

impl<'a> Weights<'a> {
    /// All that `vb` holds.
    pub fn new(vb: &VarBuilder<'a>, sources: Sources<'a>) -> Self {
        Self { vb: vb.clone(), sources }
    }

    /// Those whose names go on with `name`.
    #[must_use]
    pub fn pp(&self, name: impl ToString) -> Self {
        Self { vb: self.vb.pp(name), sources: self.sources }
    }

    /// A tensor.
    pub fn get(&self, shape: impl Into<Shape>, name: &str) -> Result<Tensor> {
        self.vb.get(shape.into(), name)
    }

    /// `weight [O, ..]`, all of whose other axes are inputs, packed for products in `arithmetic`; with `bias [O]`, where that
    /// has a name.
    pub fn dense(
        &self,
        weight: &str,
        shape: impl Into<Shape>,
        bias: Option<&str>,
        arithmetic: Arithmetic,
    ) -> Result<Dense> {
        let shape = shape.into();
        let output = shape.dims().first().copied().unwrap_or(1);
        let (name, input) = (format!("{}.{weight}", self.vb.prefix()), shape.elem_count() / output);
        let lying = self.sources.packed;
        let lying = lying.and_then(|packed| packed.get(&name, (input, output), bias.is_some(), arithmetic));
        let dense = if let Some(dense) = lying {
            dense
        } else {
            let bias = bias.map(|bias| values(&self.vb.get(output, bias)?)).transpose()?;
            self.pack(&name, || values(&self.vb.get(shape, weight)?), bias.as_deref(), input, arithmetic)?
        };
        if let Some(seen) = self.sources.seen {
            seen(&name, &dense).map_err(candle_core::Error::wrap)?;
        }
        Ok(dense)
    }

    fn pack(
        &self,
        name: &str,
        weight: impl FnOnce() -> Result<Vec<f32>>,
        bias: Option<&[f32]>,
        input: usize,
        arithmetic: Arithmetic,
    ) -> Result<Dense> {
        // What is stored in bytes is multiplied as it is: numbers that are made of them would give other scales, by a bit.
        let steps = |file: &TensorFile| file.steps(name).map_err(candle_core::Error::wrap).transpose();
        match self.sources.file.filter(|_| arithmetic == Arithmetic::Int8).and_then(steps) {
            Some(stored) => {
                let (steps, scales) = stored?;
                Ok(Dense::Int8(int8::Packed::of_steps(&steps, &scales, bias, input)))
            }
            None => match Dense::new(&weight()?, bias, input, arithmetic) {
                Dense::F32(packed) if self.sources.halved => Ok(Dense::F32(packed.halved())),
                dense => Ok(dense),
            },
        }
    }

    /// As [`Weights::dense`], in f32.
    pub fn exact(&self, weight: &str, shape: impl Into<Shape>, bias: Option<&str>) -> Result<Packed> {
        match self.dense(weight, shape, bias, Arithmetic::F32)? {
            Dense::F32(packed) => Ok(packed),
            other => unreachable!("asked for f32, found {}", other.arithmetic().name()),
        }
    }

    /// `x W^T + b`.
    pub fn linear(&self, input: usize, output: usize, arithmetic: Arithmetic) -> Result<Dense> {
        self.dense("weight", (output, input), Some("bias"), arithmetic)
    }

    /// `x W^T + b`, in f32.
    pub fn exact_linear(&self, input: usize, output: usize) -> Result<Packed> {
        self.exact("weight", (output, input), Some("bias"))
    }
}
