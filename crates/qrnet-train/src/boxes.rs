//! Boxes `(cx, cy, w, h)` in 0..1 of the canvas: overlap, and the metric of the field.

/// `(cx, cy, w, h)`.
pub type CxCyWh = [f32; 4];

/// Edges `(x0, y0, x1, y1)`.
pub(crate) fn edges([cx, cy, w, h]: [f64; 4]) -> [f64; 4] {
    [cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h]
}

fn area([x0, y0, x1, y1]: [f64; 4]) -> f64 {
    (x1 - x0) * (y1 - y0)
}

/// Keeps a division by an empty union finite, as the reference does.
const EMPTY: f64 = 1e-16;

/// Intersection over union as the reference measures it: the prediction clipped to the canvas, the target not (SPEC
/// section 7). 0..1.
pub fn iou(prediction: CxCyWh, target: CxCyWh) -> f32 {
    let p = edges(prediction.map(f64::from)).map(|edge| edge.clamp(0.0, 1.0));
    let t = edges(target.map(f64::from));
    let width = (p[2].min(t[2]) - p[0].max(t[0])).max(0.0);
    let height = (p[3].min(t[3]) - p[1].max(t[1])).max(0.0);
    let inter = width * height;
    (inter / (area(p) + area(t) - inter + EMPTY)) as f32
}

/// Whether a prediction counts as right at `threshold` (0.5 in the field).
pub fn right(prediction: CxCyWh, target: CxCyWh, threshold: f32) -> bool {
    iou(prediction, target) >= threshold
}
