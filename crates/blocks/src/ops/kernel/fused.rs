//! Operations on any number of tensors. candle's custom operations take three, so the tensors go into a chain of
//! carriers, tensors of one element without meaning; the operation takes the end of the chain, and its gradients lie
//! ready in the chain's cell when candle comes to the carriers.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Storage, Tensor};

use super::elements;

/// An operation on slices of contiguous f32 tensors.
pub(super) trait Fused: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    fn forward(&self, inputs: &[&[f32]]) -> Vec<f32>;

    /// The gradients of all inputs; those that are not `wanted` may be empty.
    fn backward(&self, inputs: &[&[f32]], gradient: &[f32], wanted: &[bool]) -> Vec<Vec<f32>>;
}

/// Applies `operation`, whose result has shape `shape`.
pub(super) fn apply(operation: impl Fused, inputs: &[&Tensor], shape: impl Into<Shape>) -> Result<Tensor> {
    let inputs: Vec<Tensor> = inputs.iter().map(|t| t.contiguous()).collect::<Result<_>>()?;
    let tracked = inputs.iter().any(Tensor::track_op);
    let result = with_elements(&inputs, |slices| operation.forward(slices))?;
    let shape = shape.into();
    if !tracked {
        return Tensor::from_vec(result, shape, &Device::Cpu);
    }
    let cell: Cell = Arc::default();
    let main =
        Main { operation, inputs: inputs.clone(), result: Mutex::new(Some(result)), shape, cell: Arc::clone(&cell) };
    let mut end: Option<Tensor> = None;
    let mut rest = inputs.as_slice();
    let mut first = 0;
    while !rest.is_empty() {
        let room = if end.is_some() { 2 } else { 3 };
        let (here, later) = rest.split_at(room.min(rest.len()));
        let carrier = Carrier { cell: Arc::clone(&cell), first, previous: end.is_some() };
        let mut all: Vec<&Tensor> = end.iter().collect();
        all.extend(here);
        end = Some(match all.as_slice() {
            [a] => a.apply_op1(carrier)?,
            [a, b] => a.apply_op2(b, carrier)?,
            [a, b, c] => a.apply_op3(b, c, carrier)?,
            _ => candle_core::bail!("a carrier takes one to three tensors"),
        });
        (first, rest) = (first + here.len(), later);
    }
    match end {
        Some(end) => end.apply_op1(main),
        None => candle_core::bail!("{} without inputs", main.name()),
    }
}

/// Gradients on their way from the operation to its carriers.
type Cell = Arc<Mutex<Vec<Option<Tensor>>>>;

/// Lends the elements of contiguous f32 tensors on the CPU.
pub fn with_elements<R>(tensors: &[Tensor], run: impl FnOnce(&[&[f32]]) -> R) -> Result<R> {
    let guards: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let slices = guards
        .iter()
        .map(|(storage, layout)| match &**storage {
            Storage::Cpu(storage) => elements(storage, layout),
            _ => candle_core::bail!("a fused kernel wants tensors on the CPU"),
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(run(&slices))
}

struct Main<O> {
    operation: O,
    inputs: Vec<Tensor>,
    /// Computed before candle asks for it.
    result: Mutex<Option<Vec<f32>>>,
    shape: Shape,
    cell: Cell,
}

impl<O: Fused> CustomOp1 for Main<O> {
    fn name(&self) -> &'static str {
        self.operation.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let ready = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        let result = match ready {
            Some(result) => result,
            None => with_elements(&self.inputs, |slices| self.operation.forward(slices))?,
        };
        Ok((CpuStorage::F32(result), self.shape.clone()))
    }

    fn bwd(&self, carrier: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let wanted: Vec<bool> = self.inputs.iter().map(Tensor::track_op).collect();
        let gradients = with_elements(&self.inputs, |inputs| {
            with_elements(std::slice::from_ref(&gradient), |g| self.operation.backward(inputs, g[0], &wanted))
        })??;
        let gradients = gradients
            .into_iter()
            .zip(&self.inputs)
            .zip(&wanted)
            .map(|((values, input), wanted)| {
                wanted.then(|| Tensor::from_vec(values, input.shape(), &Device::Cpu)).transpose()
            })
            .collect::<Result<_>>()?;
        *self.cell.lock().unwrap_or_else(PoisonError::into_inner) = gradients;
        carrier.zeros_like().map(Some)
    }
}

/// Holds inputs `first..` of its operation, behind the previous carrier if there is one.
struct Carrier {
    cell: Cell,
    first: usize,
    previous: bool,
}

impl Carrier {
    fn value() -> (CpuStorage, Shape) {
        (CpuStorage::F32(vec![0.0]), Shape::from(1))
    }

    /// The gradient of argument `place`.
    fn take(&self, place: usize, argument: &Tensor) -> Result<Option<Tensor>> {
        if !argument.track_op() {
            return Ok(None);
        }
        if self.previous && place == 0 {
            return argument.zeros_like().map(Some);
        }
        let input = self.first + place - usize::from(self.previous);
        let mut cell = self.cell.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(cell.get_mut(input).and_then(Option::take))
    }
}

impl CustomOp1 for Carrier {
    fn name(&self) -> &'static str {
        "carrier"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(Self::value())
    }

    fn bwd(&self, a: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        self.take(0, a)
    }
}

impl CustomOp2 for Carrier {
    fn name(&self) -> &'static str {
        "carrier"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(Self::value())
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, _: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.take(0, a)?, self.take(1, b)?))
    }
}

impl CustomOp3 for Carrier {
    fn name(&self) -> &'static str {
        "carrier"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(Self::value())
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((self.take(0, a)?, self.take(1, b)?, self.take(2, c)?))
    }
}
