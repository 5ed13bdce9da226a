//! Models, devices and thresholds as the command line names them.

use std::path::{Path, PathBuf};

use candle_core::Device;
use grounding::{Grounder, MemoryModel, Placement, Precision, QueryCompiler};
use qrnet::Config;

use crate::error::{Error, Result};
use crate::heap;
use crate::models;

const VARIANTS: [(&str, &str); 7] = [
    ("camera", include_str!("../../configs/model/camera.toml")),
    ("qrnet-swin-s-l20", include_str!("../../configs/model/qrnet-swin-s-l20.toml")),
    ("qrnet-swin-s-l40", include_str!("../../configs/model/qrnet-swin-s-l40.toml")),
    ("small", include_str!("../../configs/model/small.toml")),
    ("photographs", include_str!("../../configs/model/photographs.toml")),
    ("sprites-tiny", include_str!("../../configs/model/sprites-tiny.toml")),
    ("tiny", include_str!("../../configs/model/tiny.toml")),
];

/// Sizes by the name of a variant that ships with the program, or by file, relative to `base`; `asked` says in errors
/// what named them.
///
/// # Errors
/// Neither such a file nor such a variant, or a file that holds no valid sizes.
pub fn model_variant(asked: &str, name: &str, base: &Path) -> Result<Config> {
    if let Some((_, text)) = VARIANTS.iter().find(|(variant, _)| *variant == name) {
        return Ok(Config::from_toml(text, name)?);
    }
    let file = base.join(name);
    if file.exists() {
        return Ok(Config::from_toml_file(&file)?);
    }
    let names: Vec<&str> = VARIANTS.iter().map(|(variant, _)| *variant).collect();
    let hint =
        blocks::strict::nearest(name, names.iter().copied()).map_or(String::new(), |n| format!("; did you mean {n}?"));
    Err(Error::Usage(format!("{asked} {name}: is neither a file nor one of {}{hint}", names.join(", "))))
}

/// Whether `--device` names one, here or elsewhere.
///
/// # Errors
/// It does not.
pub(crate) fn check_device(name: &str) -> Result<()> {
    let known = matches!(name, "cpu" | "cuda" | "auto");
    if known || name.strip_prefix("cuda:").is_some_and(|index| index.parse::<usize>().is_ok()) {
        return Ok(());
    }
    Err(Error::Usage(format!("--device {name}: expected cpu, cuda, cuda:N or auto")))
}

/// The device that `--device` names.
///
/// # Errors
/// No such device.
pub fn device(name: &str) -> Result<Device> {
    let usage = |reason: String| Error::Usage(format!("--device {name}: {reason}"));
    let cuda = |index: usize| {
        if !cfg!(feature = "cuda") {
            return Err(usage("this build has no CUDA; `make build-cuda` makes one that has, or use cpu".into()));
        }
        // The driver's own name for it, out of what is wrapped around it.
        let reason = |e: candle_core::Error| {
            let text = e.to_string();
            let code =
                text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').find(|w| w.starts_with("CUDA_ERROR"));
            code.or(text.lines().next()).unwrap_or_default().to_owned()
        };
        Device::new_cuda(index).map_err(|e| {
            let reason = reason(e);
            usage(format!("no such GPU answers ({reason}), expected one whose driver knows this build's CUDA"))
        })
    };
    match name {
        "cpu" => Ok(Device::Cpu),
        "cuda" => cuda(0),
        "auto" => Ok(cuda(0).unwrap_or(Device::Cpu)),
        other => match other.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(index)) => cuda(index),
            _ => Err(usage("expected cpu, cuda, cuda:N or auto".into())),
        },
    }
}

/// The model that is built in: trained on photographs, see its card.
#[cfg(feature = "built-in-model")]
const BUILT_IN: Option<MemoryModel> = Some(MemoryModel {
    name: "the built-in model",
    config: include_str!("../../models/spotter-base/config.json"),
    weights: include_bytes!("../../models/spotter-base/model.safetensors"),
    tokenizer: include_str!("../../models/spotter-base/tokenizer.json"),
});
#[cfg(not(feature = "built-in-model"))]
const BUILT_IN: Option<MemoryModel> = None;

fn built_in() -> Result<&'static MemoryModel> {
    let lacking = || {
        Error::Usage(
            "--model DIR: is needed, or SPOTTER_MODEL: this build has no model in it (feature built-in-model)".into(),
        )
    };
    const { &BUILT_IN }.as_ref().ok_or_else(lacking)
}

/// Names the model directory where nothing else does.
const MODEL: &str = "SPOTTER_MODEL";

/// What names the model; none for the built-in one.
fn named_or_usual(named: Option<&Path>) -> Option<PathBuf> {
    let usual = || std::env::var_os(MODEL).filter(|name| !name.is_empty()).map(PathBuf::from);
    named.map(Path::to_path_buf).or_else(usual)
}

/// The model directory that is meant; none for the built-in model. A public model is looked for in the cache alone.
///
/// # Errors
/// It is a public model that is not there.
pub(crate) fn chosen(named: Option<&Path>) -> Result<Option<PathBuf>> {
    named_or_usual(named).map(|named| models::find(&named)).transpose()
}

/// The same; a public model that is not there is fetched where the user wants it.
///
/// # Errors
/// It is a public model that is not there, and nobody wants it or it cannot be had.
pub(crate) fn chosen_or_fetched(named: Option<&Path>) -> Result<Option<PathBuf>> {
    named_or_usual(named).map(|named| models::find_or_fetch(&named)).transpose()
}

/// Loads a model directory or a public model, that which `SPOTTER_MODEL` names, or the built-in model, to compute in
/// `precision`; `frames_only` leaves text tower and generators out.
///
/// # Errors
/// The directory or the device is unusable.
pub fn load_model(path: Option<&Path>, device_name: &str, precision: Precision, frames_only: bool) -> Result<Grounder> {
    let device = device(device_name)?;
    let wanted = match (device.is_cpu(), precision) {
        (true, Precision::F16) => Some("the CPU computes in f32, bf16 or int8; expected --device cuda with it"),
        (false, Precision::Int8) => Some("a GPU computes in f32, bf16 or f16; expected --device cpu with it"),
        _ => None,
    };
    if let Some(wanted) = wanted {
        let precision = format!("{precision:?}").to_lowercase();
        return Err(Error::Usage(format!("--precision {precision}: {wanted}")));
    }
    let place = Placement { device, precision };
    let Some(path) = &chosen_or_fetched(path)? else {
        let load = if frames_only { Grounder::from_memory_for_frames } else { Grounder::from_memory };
        let grounder = load(built_in()?, place)?;
        heap::release(built_in()?.weights);
        return Ok(grounder);
    };
    let _held = models::hold(path);
    let grounder = if frames_only { Grounder::load_for_frames(path, place)? } else { Grounder::load(path, place)? };
    if !grounder.trained() {
        tracing::warn!("the weights of {} are untrained: its boxes mean nothing", path.display());
    }
    if !grounder.is_calibrated() {
        tracing::warn!(
            "the scores of {} are no probabilities, and presence is the best of them; `spotter calibrate` makes probabilities of them",
            path.display()
        );
    }
    Ok(grounder)
}

/// Loads what compiles sentences for the model that [`load_model`] loads, and no more.
///
/// # Errors
/// As [`load_model`].
pub fn load_compiler(path: Option<&Path>, device_name: &str) -> Result<QueryCompiler> {
    let device = device(device_name)?;
    if let Some(path) = chosen(path)? {
        let _held = models::hold(&path);
        return Ok(QueryCompiler::load(&path, &device)?);
    }
    let compiler = QueryCompiler::from_memory(built_in()?, &device)?;
    heap::release(built_in()?.weights);
    Ok(compiler)
}

/// The threshold for a model, its own where none is typed: none without a presence head.
///
/// # Errors
/// A threshold outside 0..1, or one for a model that cannot say "not here".
pub fn threshold(typed: Option<f32>, grounder: &Grounder) -> Result<Option<f32>> {
    match typed {
        Some(value) if !(0.0..=1.0).contains(&value) => {
            Err(Error::Usage(format!("--threshold {value}: expected a probability from 0 to 1")))
        }
        Some(value) if !grounder.has_presence() => Err(Error::Usage(format!(
            "--threshold {value}: this model has no presence head, so it cannot say \"not here\""
        ))),
        Some(value) => Ok(Some(value)),
        None => Ok(grounder.claims_from()),
    }
}
