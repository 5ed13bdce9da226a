//! Is a directory of the Grounding DINO family whole?

use std::path::Path;

use blocks::preprocess::{Letterboxer, RgbView};
use candle_core::DType;
use grounding::{CALIBRATION, Calibration, Device, Grounder};
use grounding_dino::{CLAIMS_FROM, Comparison, Config, FRAMING, ModelDir, Part, Weights, parameters};

use crate::error::Result;

/// Names of each kind that a message lists, at most.
const LISTED: usize = 40;
/// What a grey picture is asked for.
const SENTENCE: &str = "a person";

/// What the directory holds, a line each; `deep` reads and runs it too.
///
/// # Errors
/// Something is missing, damaged or contradicts something else.
pub(super) fn check(path: &Path, deep: bool) -> Result<Vec<String>> {
    let dir = ModelDir::open(path)?;
    let config = dir.config();
    let weights = Weights::open(path)?;
    let comparison = weights.compare(config)?;
    if !comparison.fits() {
        return Err(grounding::Error::file(path, differences(&comparison)).into());
    }
    dir.load_tokenizer()?;
    let digest = if deep { dir.verify_digest()? } else { dir.digest()? };
    let calibration = Calibration::of(path, &digest)?;
    let (frame, text) = (count(config, Part::Frame)?, count(config, Part::Text)?);
    let (types, files) = weights.stored();
    let types: Vec<String> = types.iter().map(|dtype: &DType| dtype.as_str().to_owned()).collect();
    let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    let sizing = dir.sizing();
    let verified = match (deep, dir.has_digest()) {
        (false, _) => "",
        (true, true) => ", verified",
        (true, false) => ", of what lies there: none is stored",
    };
    let mut lines = vec![
        format!("model       {}", path.display()),
        format!("family      Grounding DINO ({})", config.class.name()),
        format!("parameters  {} ({frame} of them at frame time)", frame + text),
        format!("pictures    shorter side {}, longer side up to {}", sizing.shortest, sizing.longest),
        format!("query       up to {} pieces in one pass", config.max_text_len - FRAMING.len()),
        match &calibration {
            Some(own) => format!("presence    calibrated, there from {}", own.threshold()),
            None => format!("presence    the best score, not calibrated ({CALIBRATION}), there from {CLAIMS_FROM}"),
        },
        format!("weights     {} in {files}", types.join(", ")),
        format!("digest      {digest}{verified}"),
    ];
    let extra = &comparison.extra;
    if deep {
        lines.extend(extra.iter().map(|name| format!("extra       {name}")));
        let damaged = weights.damaged()?;
        if let Some(first) = damaged.first() {
            let reason = format!("{} of its tensors hold what is no number, first `{first}`", damaged.len());
            return Err(grounding::Error::file(path, reason).into());
        }
        lines.push(format!("grounding   {}", ground_grey(path)?));
    } else if !extra.is_empty() {
        lines.push(format!("extra       {} tensors that nobody reads (--deep names them)", extra.len()));
    }
    Ok(lines)
}

fn count(config: &Config, part: Part) -> Result<usize> {
    let specs = parameters(config, part)?;
    // Layers that share a head ask for it more than once.
    let mut sizes: Vec<(&str, usize)> =
        specs.iter().map(|spec| (spec.name.as_str(), spec.shape.iter().product())).collect();
    sizes.sort_unstable();
    sizes.dedup();
    Ok(sizes.into_iter().map(|(_, size)| size).sum())
}

/// All that differs, a name a line.
fn differences(Comparison { missing, wrong, extra }: &Comparison) -> String {
    let mut lines = vec![format!(
        "does not fit its config.json: {} tensors missing, {} of another shape, {} that nobody reads",
        missing.len(),
        wrong.len(),
        extra.len()
    )];
    let mut list = |all: &mut dyn ExactSizeIterator<Item = String>| {
        let left = all.len().saturating_sub(LISTED);
        lines.extend(all.take(LISTED));
        if left > 0 {
            lines.push(format!("  and {left} more"));
        }
    };
    list(&mut missing.iter().map(|spec| format!("  missing {} {:?}", spec.name, spec.shape)));
    list(&mut wrong.iter().map(|(spec, found)| format!("  wrong {} {found:?}, expected {:?}", spec.name, spec.shape)));
    list(&mut extra.iter().map(|name| format!("  extra {name}")));
    lines.join("\n")
}

/// Reads every weight and runs it.
fn ground_grey(model: &Path) -> Result<String> {
    let grounder = Grounder::load(model, &Device::Cpu)?;
    let canvas = grounder.canvas();
    let grey = vec![128; 3 * canvas.width * canvas.height];
    let view = RgbView::new(canvas.width, canvas.height, 3 * canvas.width, &grey)?;
    let picture = Letterboxer::default().letterbox(&view, canvas)?;
    let query = grounder.compile(SENTENCE)?;
    let found = grounder.ground(&[&picture], &[&query])?;
    let presence = found[0][0].presence.unwrap_or_default();
    Ok(format!("{SENTENCE:?} has presence {presence:.4} in a grey picture"))
}
