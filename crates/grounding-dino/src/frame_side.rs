//! What reads pictures: packed weights on the CPU, tensors elsewhere; and what it keeps from frame to frame.

use std::sync::Arc;

use blocks::canvas::Grid;
use blocks::error::Result;
use blocks::pass::Pass;
use blocks::recent::Recent;
use candle_core::{Device, Tensor, TensorId};
use candle_nn::VarBuilder;

use crate::config::Config;
use crate::cpu::{CpuFrame, Geometry, Words};
use crate::model::{Detected, FrameModel};
use crate::plan::Plan;
use crate::text::Text;
use crate::view::View;

/// How many shapes of pictures keep their geometry.
const CACHED_PLANS: usize = 8;
/// How many bytes the lists of queries keep that follow from them alone: a few hundred short ones. A fixed number of lists would be
/// made anew for every frame as soon as there are more streams with queries of their own.
const CACHED_TEXTS: usize = 64 << 20;

pub(crate) enum FrameSide {
    /// On the CPU.
    Cpu(Box<CpuFrame>, Kept<Geometry, Words>),
    /// Elsewhere.
    Tensors(Box<FrameModel>, Kept<Plan, Text>),
}

/// Geometries by the size of pictures, texts by their key.
pub(crate) struct Kept<P, T> {
    plans: Recent<Grid, Arc<P>>,
    texts: Recent<TextKey, Arc<T>>,
}

impl<P, T> Kept<P, T> {
    /// `bytes` says how many a text takes.
    fn new(bytes: fn(&Arc<T>) -> usize) -> Self {
        Self { plans: Recent::new(CACHED_PLANS), texts: Recent::by_weight(CACHED_TEXTS, bytes) }
    }
}

/// The tokens of a text's queries. Tensors' ids are never used twice.
pub(crate) type TextKey = Vec<TensorId>;

impl FrameSide {
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        if vb.device().is_cpu() {
            return Ok(Self::Cpu(Box::new(CpuFrame::new(config, vb)?), Kept::new(|words| words.bytes())));
        }
        Ok(Self::Tensors(Box::new(FrameModel::from_builder(config, vb)?), Kept::new(|text| text.bytes())))
    }

    /// Looks on a picture for what each of the texts says, and tells it with the text's number; `text` makes the one of a
    /// number.
    pub(crate) fn ground(
        &self,
        picture: View,
        texts: Vec<TextKey>,
        text: impl Fn(usize) -> Result<Text>,
        device: &Device,
        told: &mut (dyn FnMut(usize, &Detected) + Send),
    ) -> Result<()> {
        let image = picture.size();
        let numbered = texts.into_iter().enumerate();
        match self {
            Self::Cpu(frame, kept) => {
                let plan = kept.plans.get_or_make(image, || frame.plan(image, image).map(Arc::new))?;
                let words = |(number, key)| kept.texts.get_or_make(key, || Ok(Arc::new(frame.words(&text(number)?)?)));
                let words = numbered.map(words).collect::<Result<Vec<_>>>()?;
                let words: Vec<&Words> = words.iter().map(AsRef::as_ref).collect();
                Ok(frame.ground(picture, &plan, &words, told)?)
            }
            Self::Tensors(frame, kept) => {
                let plan = kept.plans.get_or_make(image, || frame.plan(image, image).map(Arc::new))?;
                let texts = numbered.map(|(number, key)| kept.texts.get_or_make(key, || text(number).map(Arc::new)));
                let texts = texts.collect::<Result<Vec<_>>>()?;
                let mut room = Vec::new();
                let picture = picture.pixels(&mut room);
                let image = Tensor::from_slice(picture, (1, 3, image.h, image.w), device)?;
                let mut pass = Pass::eval();
                let seen = frame.look(&image, &plan, &mut pass)?;
                for (number, text) in texts.iter().enumerate() {
                    told(number, &frame.find(&seen, text, &plan, &mut pass)?);
                }
                Ok(())
            }
        }
    }
}
