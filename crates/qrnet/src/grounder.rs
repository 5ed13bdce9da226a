//! The crate's front door: load a model, compile a sentence, ground pictures.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use tracing::trace_span;

use crate::compiler::QueryCompiler;
use crate::config::Config;
use crate::cpu::{Constants, CpuFrame, Found};
use crate::fusion::compiled::{Folding, HeadPlan};
use crate::memory::{MemoryModel, MemoryParts};
use crate::model::FrameModel;
use crate::model_dir::ModelDir;
use crate::packed;
use crate::params::Part;
use crate::plan::CanvasPlan;
use crate::query::{CompiledQuery, Stacks};
use crate::weights;
use blocks::canvas::Canvas;
use blocks::checkpoint::TensorFile;
use blocks::checkpoint::Tensors;
use blocks::error::{Error, Result};
use blocks::ops::kernel::dense::Arithmetic;
use blocks::packed::weights::{Sources, Weights};
use blocks::preprocess::{Letterboxed, Rect};
use blocks::recent::Recent;
use blocks::text::tokenizer::QueryTokenizer;

/// A model ready to ground.
///
/// Thread-safe; grounding takes `&self`.
pub struct Grounder {
    config: Config,
    digest: String,
    trained: bool,
    device: Device,
    /// As [`Grounder::plans`].
    plans: Vec<CanvasPlan>,
    frame: FrameSide,
    folding: Arc<Folding>,
    text: Option<QueryCompiler>,
    head_plans: Recent<LayoutKey, Arc<Layout>>,
    stacks: Stacks,
}

/// Element type that pictures are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 4 bytes.
    #[default]
    F32,
    /// 2 bytes with f32's range; on CPUs in the backbone's Linears but the first and the last, f32 elsewhere.
    Bf16,
    /// 2 bytes, finer but of small range; for GPUs.
    F16,
    /// 1 byte in the backbone's Linears but the first and the last, f32 elsewhere; for CPUs.
    Int8,
}

/// Where a model computes, and how finely.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The device.
    pub device: Device,
    /// Of backbone and neck; text and head compute in f32.
    pub precision: Precision,
}

impl Precision {
    /// What a CPU's products compute in; none where it has no such thing.
    pub fn arithmetic(self) -> Option<Arithmetic> {
        match self {
            Self::F32 => Some(Arithmetic::F32),
            Self::Bf16 => Some(Arithmetic::Bf16),
            Self::Int8 => Some(Arithmetic::Int8),
            Self::F16 => None,
        }
    }
}

impl Placement {
    /// What its products compute in, if it is a CPU.
    fn arithmetic(&self) -> Option<Arithmetic> {
        self.precision.arithmetic().filter(|_| self.device.is_cpu())
    }
}

impl From<&Device> for Placement {
    /// In f32.
    fn from(device: &Device) -> Self {
        Self { device: device.clone(), precision: Precision::F32 }
    }
}

/// What reads pictures.
enum FrameSide {
    /// On the CPU.
    Cpu(Box<CpuFrame>),
    /// Elsewhere.
    Tensors(Box<FrameModel>),
}

impl FrameSide {
    fn new(
        config: &Config,
        vb: &VarBuilder,
        sources: Sources,
        plans: &[CanvasPlan],
        precision: Precision,
    ) -> Result<Self> {
        let refused = |reason: &str| Err(Error::Unsupported(format!("{precision:?}: {reason}")));
        if vb.device().is_cpu() {
            let Some(arithmetic) = precision.arithmetic() else {
                return refused("the CPU computes in f32, bf16 or int8");
            };
            let frame = CpuFrame::new(config, &Weights::new(vb, sources), plans, arithmetic)?;
            return Ok(Self::Cpu(Box::new(frame)));
        }
        let dtype = match precision {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
            Precision::Int8 => return refused("the CPU alone computes in it"),
        };
        let mut frame = FrameModel::new(config, &vb.to_dtype(dtype))?;
        frame.freeze()?;
        Ok(Self::Tensors(Box::new(frame)))
    }
}

/// Number of a canvas, and which visual tokens are visible on it.
type LayoutKey = (usize, Vec<bool>);

/// Constants of the head for one way in which pictures lie on the canvas.
enum Layout {
    Cpu(Constants),
    Tensors(HeadPlan),
}

/// Where a picture shows what the query describes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grounding {
    /// In pixels of the picture as grounded, clipped to it.
    pub rect: Rect,
    /// The model's raw answer: `(cx, cy, w, h)` in 0..1 of its box frame, the canvas unless the position table's is larger.
    pub raw: [f32; 4],
    /// The same in 0..1 of the canvas.
    pub canvas: [f32; 4],
    /// Probability that the object is in the picture; only with a presence head.
    pub presence: Option<f32>,
}

/// How many letterbox layouts keep their constants: one per picture shape in use.
const CACHED_LAYOUTS: usize = 8;

impl Grounder {
    /// Loads a model directory whole: it can compile queries and ground.
    ///
    /// # Errors
    /// A file is missing, damaged, or contradicts the configuration.
    pub fn load(dir: &Path, place: impl Into<Placement>) -> Result<Self> {
        let place = place.into();
        let dir = ModelDir::open(dir)?;
        let file = Arc::new(TensorFile::open(&dir.weights())?);
        weights::check(&file, dir.config(), |_| true)?;
        let mut grounder = Self::assemble(&dir, &file, &place)?;
        let vb = weights::lazy_builder(file, &place.device);
        let folding = Arc::clone(&grounder.folding);
        let text = QueryCompiler::new(dir.config(), &vb, dir.load_tokenizer()?, dir.digest()?, folding)?;
        grounder.text = Some(text);
        Ok(grounder)
    }

    /// Loads only what a frame needs: no text tower, no weight generators. Such a model grounds queries that were
    /// compiled before, and keeps about a fifth of the full model in memory.
    ///
    /// # Errors
    /// As [`Grounder::load`].
    pub fn load_for_frames(dir: &Path, place: impl Into<Placement>) -> Result<Self> {
        let place = place.into();
        let dir = ModelDir::open(dir)?;
        let file = Arc::new(TensorFile::open(&dir.weights())?);
        weights::check(&file, dir.config(), |spec| spec.part == Part::Frame)?;
        Self::assemble(&dir, &file, &place)
    }

    /// Loads a model that lies in memory, as a program carries it within itself.
    ///
    /// # Errors
    /// A part is damaged, or contradicts the configuration.
    pub fn from_memory(model: &MemoryModel, place: impl Into<Placement>) -> Result<Self> {
        let place = place.into();
        let MemoryParts { config, tensors, tokenizer, digest, trained } = model.open(&place.device)?;
        let mut grounder = Self::from_tensors(&config, &tensors, tokenizer, digest, place)?;
        grounder.trained = trained;
        Ok(grounder)
    }

    /// The same, of what a frame needs alone, as [`Grounder::load_for_frames`].
    ///
    /// # Errors
    /// As [`Grounder::from_memory`].
    pub fn from_memory_for_frames(model: &MemoryModel, place: impl Into<Placement>) -> Result<Self> {
        let place = place.into();
        let MemoryParts { config, tensors, digest, trained, .. } = model.open(&place.device)?;
        let vb = weights::builder(&tensors, &place.device);
        let mut grounder = Self::from_parts(config, digest, &vb, Sources::default(), place.precision)?;
        grounder.trained = trained;
        Ok(grounder)
    }

    /// The half that reads pictures, of a directory whose weights are in `file`; packed ones beside it are used where they lie.
    fn assemble(dir: &ModelDir, file: &Arc<TensorFile>, place: &Placement) -> Result<Self> {
        let arithmetic = place.arithmetic();
        let packed = arithmetic.and_then(|arithmetic| packed::beside(dir, arithmetic));
        let vb = weights::lazy_builder(Arc::clone(file), &place.device);
        let sources = Sources { file: Some(file), packed: packed.as_ref(), ..Sources::default() };
        let mut grounder = Self::from_parts(dir.config().clone(), dir.digest()?, &vb, sources, place.precision)?;
        if let Some(arithmetic) = arithmetic {
            packed::warn_of_missing(dir, arithmetic, packed.as_ref());
        }
        grounder.trained = dir.trained();
        Ok(grounder)
    }

    /// Wraps weights in memory, for evaluation during training. `digest` names them in compiled queries.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn from_tensors(
        config: &Config,
        tensors: &Tensors,
        tokenizer: QueryTokenizer,
        digest: String,
        place: impl Into<Placement>,
    ) -> Result<Self> {
        let place = place.into();
        let vb = weights::builder(tensors, &place.device);
        let mut grounder = Self::from_parts(config.clone(), digest.clone(), &vb, Sources::default(), place.precision)?;
        let folding = Arc::clone(&grounder.folding);
        grounder.text = Some(QueryCompiler::new(config, &vb, tokenizer, digest, folding)?);
        Ok(grounder)
    }

    fn from_parts(
        config: Config,
        digest: String,
        vb: &VarBuilder,
        sources: Sources,
        precision: Precision,
    ) -> Result<Self> {
        let device = vb.device();
        let plan = |canvas| CanvasPlan::new(&config, canvas, device);
        let plans = config.all_canvases().into_iter().map(plan).collect::<candle_core::Result<Vec<_>>>()?;
        let (frame, folding) =
            (FrameSide::new(&config, vb, sources, &plans, precision)?, Arc::new(Folding::new(&config, vb)?));
        let (device, head_plans, stacks) = (device.clone(), Recent::new(CACHED_LAYOUTS), Stacks::default());
        Ok(Self { config, digest, trained: true, device, plans, frame, folding, text: None, head_plans, stacks })
    }

    /// Sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The canvas that pictures are letterboxed into.
    pub fn canvas(&self) -> Canvas {
        self.config.canvas
    }

    /// The geometry of all canvases: the model's own, then the others that it is for.
    pub fn plans(&self) -> &[CanvasPlan] {
        &self.plans
    }

    /// The canvas that fits a picture of `width` x `height` best, of those that the model is for.
    pub fn canvas_for(&self, width: usize, height: usize) -> Canvas {
        Canvas::fitting(&self.config.all_canvases(), width, height).unwrap_or(self.config.canvas)
    }

    /// The geometry of the canvas.
    pub fn plan(&self) -> &CanvasPlan {
        &self.plans[0]
    }

    /// The digest that compiled queries carry.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// False where the weights are still as drawn from a seed: boxes then mean nothing.
    pub fn trained(&self) -> bool {
        self.trained
    }

    /// Frees text tower and weight generators once all queries are compiled.
    pub fn drop_text(&mut self) {
        self.text = None;
    }

    /// Compiles a sentence. What does not fit the model's length, and words it does not know, are warned of.
    ///
    /// # Errors
    /// The sentence is empty or unreadable for the tokenizer, or the model was loaded for frames only.
    pub fn compile(&self, text: &str) -> Result<CompiledQuery> {
        self.text_side()?.compile(text)
    }

    /// Compiles the empty sentence, only framing pieces: touches every weight of the text side whatever the vocabulary.
    ///
    /// # Errors
    /// The model was loaded for frames only, or a device error.
    pub fn compile_framing(&self) -> Result<CompiledQuery> {
        self.text_side()?.compile_framing()
    }

    fn text_side(&self) -> Result<&QueryCompiler> {
        let missing = "this model was loaded for frames only and cannot compile a query";
        self.text.as_ref().ok_or_else(|| Error::Unsupported(missing.into()))
    }

    /// Reads a saved query of this model.
    ///
    /// # Errors
    /// As [`CompiledQuery::load`].
    pub fn load_query(&self, path: &Path) -> Result<CompiledQuery> {
        CompiledQuery::load(path, &self.config, &self.digest, &self.device)
    }

    /// Grounds pictures, all with the same query.
    ///
    /// # Errors
    /// The query belongs to another model, a picture is on another canvas, or the device fails.
    pub fn ground(&self, pictures: &[&Letterboxed], query: &CompiledQuery) -> Result<Vec<Grounding>> {
        self.ground_questions(pictures, &(0..pictures.len()).collect::<Vec<_>>(), &[query])
    }

    /// Grounds pictures, each with its own query.
    ///
    /// # Errors
    /// As [`Grounder::ground`], and where there are not as many queries as pictures.
    pub fn ground_each(&self, pictures: &[&Letterboxed], queries: &[&CompiledQuery]) -> Result<Vec<Grounding>> {
        if pictures.len() != queries.len() {
            return Err(Error::Unsupported(format!("{} queries for {} pictures", queries.len(), pictures.len())));
        }
        self.ground_questions(pictures, &(0..pictures.len()).collect::<Vec<_>>(), queries)
    }

    /// Asks every query of every picture. What does not depend on the sentence is computed once a picture.
    ///
    /// # Errors
    /// As [`Grounder::ground`].
    pub fn ground_all(&self, pictures: &[&Letterboxed], queries: &[&CompiledQuery]) -> Result<Vec<Vec<Grounding>>> {
        if queries.is_empty() {
            return Ok(vec![Vec::new(); pictures.len()]);
        }
        let asked: Vec<usize> = (0..pictures.len() * queries.len()).map(|i| i / queries.len()).collect();
        let each = match queries {
            [only] => vec![*only],
            _ => asked.iter().enumerate().map(|(i, _)| queries[i % queries.len()]).collect(),
        };
        let all = self.ground_questions(pictures, &asked, &each)?;
        Ok(all.chunks(queries.len()).map(<[Grounding]>::to_vec).collect())
    }

    /// Answers one question for every entry of `asked`, the number of its picture; `queries` are one for all or one each.
    ///
    /// # Errors
    /// As [`Grounder::ground`].
    pub fn ground_questions(
        &self,
        pictures: &[&Letterboxed],
        asked: &[usize],
        queries: &[&CompiledQuery],
    ) -> Result<Vec<Grounding>> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(beyond) = asked.iter().find(|picture| **picture >= pictures.len()) {
            return Err(Error::Unsupported(format!("a question about picture {beyond} of {}", pictures.len())));
        }
        if ![1, asked.len()].contains(&queries.len()) {
            return Err(Error::Unsupported(format!("{} queries for {} questions", queries.len(), asked.len())));
        }
        if let Some(foreign) = queries.iter().find(|query| query.model() != self.digest) {
            return Err(Error::foreign_query(None, foreign.model(), &self.digest));
        }
        let own = pictures.first().map_or(self.config.canvas, |picture| picture.transform.canvas);
        if pictures.iter().any(|picture| picture.transform.canvas != own) {
            return self.ground_by_canvas(pictures, asked, queries);
        }
        let Some(place) = self.plans.iter().position(|plan| plan.canvas() == own) else {
            let known: Vec<String> = self.plans.iter().map(|plan| plan.canvas().to_string()).collect();
            let message = format!("a picture on canvas {own} for a model with canvas {}", known.join(" or "));
            return Err(Error::Unsupported(message));
        };
        let plan = &self.plans[place];
        let size = 3 * own.width * own.height;
        if let Some(other) = pictures.iter().find(|picture| picture.pixels.len() != size) {
            let message = format!("a picture of {} values, expected {size}", other.pixels.len());
            return Err(Error::Unsupported(message));
        }
        let stacked = self.stacks.get(queries, self.config.max_query_len)?;
        let (gates, text) = (&stacked.gates, &stacked.text);
        let visible: Vec<Vec<bool>> = pictures.iter().map(|p| plan.visible_tokens(&p.transform)).collect();
        let same = visible.windows(2).all(|pair| pair[0] == pair[1]) && visible[0].contains(&true);
        let (layout, ignore) = if same {
            (self.layout(place, &visible[0])?, Vec::new())
        } else {
            let ignore = asked.iter().flat_map(|&picture| &visible[picture]).map(|&shown| u8::from(!shown)).collect();
            (self.layout(place, &vec![true; visible[0].len()])?, ignore)
        };
        let found = match (&self.frame, &*layout) {
            (FrameSide::Cpu(frame), Layout::Cpu(constants)) => {
                let pixels: Vec<&[f32]> = pictures.iter().map(|picture| picture.pixels.as_slice()).collect();
                frame.ground(place, &pixels, asked, gates, text, constants, &ignore)?
            }
            (FrameSide::Tensors(frame), Layout::Tensors(head)) => {
                let image = trace_span!("to tensor").in_scope(|| Letterboxed::batch(pictures, &self.device))?;
                frame.ground(&image, asked, gates, text, plan, head, &ignore)?
            }
            _ => unreachable!("a layout is made for its model"),
        };
        let answer = |(found, &picture): (Option<Found>, &usize)| {
            let Found { rect: raw, presence } = found.ok_or(Error::NotFinite)?;
            let rect = plan.box_to_picture(raw, &pictures[picture].transform);
            Ok(Grounding { rect, raw, canvas: plan.box_to_canvas(raw), presence })
        };
        found.into_iter().zip(asked).map(answer).collect()
    }

    /// The same for pictures on several canvases: those on one canvas go through the model together.
    fn ground_by_canvas(
        &self,
        pictures: &[&Letterboxed],
        asked: &[usize],
        queries: &[&CompiledQuery],
    ) -> Result<Vec<Grounding>> {
        let mut answers: Vec<Option<Grounding>> = vec![None; asked.len()];
        while let Some(first) = answers.iter().position(Option::is_none) {
            let canvas = |question: usize| pictures[asked[question]].transform.canvas;
            let together: Vec<usize> = (first..asked.len()).filter(|&i| canvas(i) == canvas(first)).collect();
            // Each picture once, whatever is asked of it.
            let mut numbers: Vec<usize> = together.iter().map(|&i| asked[i]).collect();
            numbers.sort_unstable();
            numbers.dedup();
            let own: Vec<&Letterboxed> = numbers.iter().map(|&picture| pictures[picture]).collect();
            let place = |picture: usize| numbers.binary_search(&picture).unwrap_or(0);
            let places: Vec<usize> = together.iter().map(|&i| place(asked[i])).collect();
            let asking: Vec<&CompiledQuery> = match queries {
                [only] => vec![*only],
                _ => together.iter().map(|&i| queries[i]).collect(),
            };
            let found = self.ground_questions(&own, &places, &asking)?;
            together.into_iter().zip(found).for_each(|(i, answer)| answers[i] = Some(answer));
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Constants of the head for the visual tokens in `visible` on one canvas, from the cache or built now.
    fn layout(&self, place: usize, visible: &[bool]) -> Result<Arc<Layout>> {
        self.head_plans.get_or_make((place, visible.to_vec()), || self.lay_out(place, visible).map(Arc::new))
    }

    fn lay_out(&self, place: usize, visible: &[bool]) -> Result<Layout> {
        let keep =
            visible.contains(&false).then(|| (0..visible.len() as u32).filter(|&i| visible[i as usize]).collect());
        let plan = self.folding.plan(&self.plans[place].positions, keep, &self.device)?;
        Ok(match &self.frame {
            FrameSide::Cpu(..) => Layout::Cpu(Constants::new(&plan)?),
            FrameSide::Tensors(_) => Layout::Tensors(plan),
        })
    }
}
