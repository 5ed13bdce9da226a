//! Is a model directory whole?

use std::path::Path;

use blocks::checkpoint::TensorFile;
use blocks::preprocess::{Letterboxer, RgbView};
use candle_core::Device;
use grounding::Family;
use qrnet::params::{Part, parameters};
use qrnet::weights;
use qrnet::{Grounder, ModelDir};

use super::dino;
use crate::error::Result;

/// What a model directory holds, a line each; `deep` reads and runs it too.
///
/// # Errors
/// Something is missing, damaged or contradicts something else.
pub(super) fn check(path: &Path, deep: bool) -> Result<Vec<String>> {
    match Family::of(path)? {
        Family::QrNet => of_qrnet(path, deep),
        Family::GroundingDino => dino::check(path, deep),
    }
}

fn of_qrnet(path: &Path, deep: bool) -> Result<Vec<String>> {
    let dir = ModelDir::open(path)?;
    let config = dir.config();
    let file = TensorFile::open(&dir.weights())?;
    weights::check(&file, config, |_| true)?;
    dir.load_tokenizer()?;
    let count = |wanted: &dyn Fn(Part) -> bool| -> usize {
        parameters(config).filter(|spec| wanted(spec.part)).map(|spec| spec.shape.iter().product::<usize>()).sum()
    };
    let digest = if deep { dir.verify_digest()? } else { dir.digest()? };
    let mut lines = vec![
        format!("model       {}", path.display()),
        format!("parameters  {} ({} of them at frame time)", count(&|_| true), count(&|part| part == Part::Frame)),
        format!("canvas      {}", config.canvas),
        format!("query       up to {} pieces", config.max_query_len - 2),
        match config.claims_from() {
            Some(threshold) => format!("presence    yes, there from {threshold}"),
            None => "presence    no head".to_owned(),
        },
        format!("weights     {}", if dir.trained() { "trained" } else { "untrained" }),
        format!("digest      {digest}{}", if deep { ", verified" } else { "" }),
    ];
    let packed = qrnet::packed::check(&dir, deep)?;
    if !packed.is_empty() {
        let names: Vec<&str> = packed.into_iter().map(qrnet::Arithmetic::name).collect();
        lines.push(format!("packed      {}{}", names.join(", "), if deep { ", verified" } else { "" }));
    }
    if deep {
        let [cx, cy, w, h] = ground_grey(path)?;
        lines.push(format!("grounding   a grey picture gives {cx:.4} {cy:.4} {w:.4} {h:.4}"));
    }
    Ok(lines)
}

/// Reads every weight and runs it.
fn ground_grey(model: &Path) -> Result<[f32; 4]> {
    let grounder = Grounder::load(model, &Device::Cpu)?;
    let canvas = grounder.canvas();
    let grey = vec![128; 3 * canvas.width * canvas.height];
    let view = RgbView::new(canvas.width, canvas.height, 3 * canvas.width, &grey)?;
    let picture = Letterboxer::default().letterbox(&view, canvas)?;
    let query = grounder.compile_framing()?;
    Ok(grounder.ground(&[&picture], &query)?[0].raw)
}
