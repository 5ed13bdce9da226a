//! The reference's box loss, L1 and generalised `IoU`, as one differentiable operation (SPEC section 7).
//!
//! Written out with its gradient, in f64, rather than composed: the kinks (equal edges, boxes that just touch) then
//! have the derivatives that PyTorch gives them, and 4 numbers a picture need no kernel.

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

use crate::boxes::{CxCyWh, edges};

/// Both terms of every row.
///
/// # Shapes
/// `prediction [N, 4]`, `targets` of length `N`, both `(cx, cy, w, h)` → `[N, 2]`: the L1 distance summed over the
/// coordinates, and `1 - GIoU`.
///
/// # Errors
/// The lengths differ.
pub fn box_terms(prediction: &Tensor, targets: &[CxCyWh]) -> Result<Tensor> {
    let (count, _) = prediction.dims2()?;
    if count != targets.len() {
        candle_core::bail!("{count} predicted boxes for {} targets", targets.len());
    }
    prediction.to_device(&Device::Cpu)?.contiguous()?.apply_op1(BoxTerms { targets: targets.to_vec() })
}

/// The reference's loss of a batch: both terms with weight 1, divided by the number of pictures.
///
/// # Errors
/// As [`box_terms`].
pub fn box_loss(prediction: &Tensor, targets: &[CxCyWh]) -> Result<Tensor> {
    box_terms(prediction, targets)?.sum_all()? / targets.len() as f64
}

struct BoxTerms {
    targets: Vec<CxCyWh>,
}

/// Values and gradients of both terms for one row.
struct Row {
    terms: [f64; 2],
    gradients: [[f64; 4]; 2],
}

impl Row {
    fn new(prediction: CxCyWh, target: CxCyWh) -> Self {
        let (p, t) = (prediction.map(f64::from), target.map(f64::from));
        let l1 = (0..4).map(|i| (p[i] - t[i]).abs()).sum();
        let l1_gradient = std::array::from_fn(|i| sign(p[i] - t[i]));
        let (giou, by_edge) = giou(edges(p), edges(t));
        let [x0, y0, x1, y1] = by_edge.map(|d| -d);
        let giou_gradient = [x0 + x1, y0 + y1, 0.5 * (x1 - x0), 0.5 * (y1 - y0)];
        Self { terms: [l1, 1.0 - giou], gradients: [l1_gradient, giou_gradient] }
    }
}

fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

/// The derivative of `min(a, b)` by `a`: PyTorch shares it where both are equal.
fn smaller(a: f64, b: f64) -> f64 {
    match a.total_cmp(&b) {
        std::cmp::Ordering::Less => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Greater => 0.0,
    }
}

/// Generalised `IoU` of `p` and `t` by edges, and its derivative by the edges of `p`.
fn giou(p: [f64; 4], t: [f64; 4]) -> (f64, [f64; 4]) {
    // Along one axis: overlap and hull, each with its derivative by both edges of `p`.
    let axis = |a: usize, b: usize| {
        let overlap = p[b].min(t[b]) - p[a].max(t[a]);
        let open = if overlap >= 0.0 { 1.0 } else { 0.0 };
        let inner = [-open * smaller(t[a], p[a]), open * smaller(p[b], t[b])];
        let hull = p[b].max(t[b]) - p[a].min(t[a]);
        let outer = [-smaller(p[a], t[a]), smaller(t[b], p[b])];
        (overlap.max(0.0), inner, hull, outer, p[b] - p[a], t[b] - t[a])
    };
    let (ix, dix, hx, dhx, px, tx) = axis(0, 2);
    let (iy, diy, hy, dhy, py, ty) = axis(1, 3);
    let (inter, hull) = (ix * iy, hx * hy);
    let union = px * py + tx * ty - inter;
    let value = inter / union - (hull - union) / hull;
    // giou = inter / union - 1 + union / hull
    let by_inter = 1.0 / union;
    let by_union = -inter / (union * union) + 1.0 / hull;
    let by_hull = -union / (hull * hull);
    let edge =
        |d_inter: f64, d_area: f64, d_hull: f64| by_inter * d_inter + by_union * (d_area - d_inter) + by_hull * d_hull;
    let gradient = [
        edge(dix[0] * iy, -py, dhx[0] * hy),
        edge(diy[0] * ix, -px, dhy[0] * hx),
        edge(dix[1] * iy, py, dhx[1] * hy),
        edge(diy[1] * ix, px, dhy[1] * hx),
    ];
    (value, gradient)
}

impl BoxTerms {
    fn rows<'a>(&'a self, predictions: &'a [f32]) -> impl Iterator<Item = Row> + 'a {
        predictions.as_chunks::<4>().0.iter().zip(&self.targets).map(|(p, t)| Row::new(*p, *t))
    }
}

impl CustomOp1 for BoxTerms {
    fn name(&self) -> &'static str {
        "box-terms"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("boxes are contiguous f32");
        };
        let terms = self.rows(&values[start..end]).flat_map(|row| row.terms.map(|term| term as f32)).collect();
        Ok((CpuStorage::F32(terms), Shape::from((self.targets.len(), 2))))
    }

    fn bwd(&self, prediction: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let predictions: Vec<f32> = prediction.flatten_all()?.to_vec1()?;
        let outer: Vec<Vec<f32>> = gradient.to_vec2()?;
        let values = self.rows(&predictions).zip(&outer).flat_map(|(row, outer)| {
            std::array::from_fn::<f32, 4, _>(|i| {
                (f64::from(outer[0]) * row.gradients[0][i] + f64::from(outer[1]) * row.gradients[1][i]) as f32
            })
        });
        Tensor::from_vec(values.collect(), prediction.shape(), prediction.device()).map(Some)
    }
}
