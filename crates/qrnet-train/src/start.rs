//! What a run starts from: words, art and data that its recipe names, and weights beyond those of files and the seed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use blocks::checkpoint::Tensors;
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{Device, Tensor};
use qrnet::Config;

use crate::data::video::{FrameSource, NoVideo};
use crate::data::{DataSet, Origin};
use crate::error::{Error, Result};
use crate::feed::{self, Feed};
use crate::recipe::{EvalSet, Recipe, there};
use crate::scenes::{self, Art, SceneSettings, Scenes};

/// Targets are relative to the canvas: a model whose boxes are relative to another one is neither trained nor measured
/// here.
///
/// # Errors
/// The position table belongs to another canvas.
pub fn own_positions(config: &Config) -> Result<()> {
    if config.position_canvas() == config.canvas {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "the model's `pos_canvas` is {}, expected its canvas, {}: train and measure on the canvas of the position table",
        config.position_canvas(),
        config.canvas
    )))
}

/// What a run works on: recipe, sizes, words, data, folder.
pub struct Setup {
    /// The recipe.
    pub recipe: Recipe,
    /// Sizes of the model.
    pub config: Config,
    /// Words.
    pub tokenizer: QueryTokenizer,
    /// Art of the scenes.
    pub art: Arc<Art>,
    /// Folder that the recipe's paths are relative to.
    pub base: PathBuf,
    /// Decodes films.
    pub video: Arc<dyn FrameSource>,
}

impl Setup {
    /// Reads what `recipe` names: vocabulary and art.
    ///
    /// # Errors
    /// Something is not where the recipe says.
    pub fn new(recipe: Recipe, config: Config, base: &Path) -> Result<Self> {
        let (length, size) = (config.max_query_len, config.bert.vocab_size);
        let tokenizer = match recipe.tokenizer.as_str() {
            "words" => QueryTokenizer::words(scenes::words(), length, size)?,
            file => {
                let file = base.join(file);
                there("tokenizer", &file)?;
                QueryTokenizer::from_file(&file, length, size)?
            }
        };
        Self::with_tokenizer(recipe, config, tokenizer, base)
    }

    /// As [`Setup::new`], with words that the caller has.
    ///
    /// # Errors
    /// The art is not where the recipe says.
    pub fn with_tokenizer(recipe: Recipe, config: Config, tokenizer: QueryTokenizer, base: &Path) -> Result<Self> {
        let art = art_of(&recipe, base)?;
        Ok(Self { recipe, config, tokenizer, art, base: base.to_path_buf(), video: Arc::new(NoVideo) })
    }

    /// The same, for recipes whose data are films.
    #[must_use]
    pub fn with_video(self, video: Arc<dyn FrameSource>) -> Self {
        Self { video, ..self }
    }

    /// Where its data sets come from; `dense` for examples that carry labels of all that their pictures show.
    pub fn origin(&self, dense: bool) -> Origin<'_> {
        Origin { base: &self.base, video: self.video.as_ref(), dense }
    }

    /// Wide scenes as the last phase draws them, in pictures whose longer side has `side` pixels.
    ///
    /// # Errors
    /// It draws none.
    pub fn last_scenes(&self, side: usize) -> Result<Scenes> {
        let settings = self.recipe.phase.iter().rev().find_map(|phase| phase.scenes.clone());
        let settings =
            settings.ok_or_else(|| Error::Unsupported(format!("no phase of {:?} draws scenes", self.recipe.name)))?;
        let settings = SceneSettings { side, square: 0.0, ..settings };
        Scenes::new(settings, Arc::clone(&self.art), self.recipe.seed, usize::MAX)
    }

    /// The examples of an evaluation set.
    ///
    /// # Errors
    /// A list is not where the recipe says.
    pub fn eval_set(&self, set: &EvalSet) -> Result<Box<dyn DataSet>> {
        eval_set(&self.recipe, set, (self.origin(false), &self.art), &self.tokenizer)
    }
}

/// Art of the scenes of a recipe in the folder `base`.
fn art_of(recipe: &Recipe, base: &Path) -> Result<Arc<Art>> {
    let folder = recipe.art.as_ref().map_or_else(|| base.to_path_buf(), |art| base.join(art));
    Ok(Arc::new(Art::load(&folder, &recipe.styles())?))
}

fn eval_set(
    recipe: &Recipe,
    set: &EvalSet,
    (origin, art): (Origin, &Arc<Art>),
    tokenizer: &QueryTokenizer,
) -> Result<Box<dyn DataSet>> {
    // Seeds of their own: no picture of training is ever measured on.
    let seed = recipe.seed
        ^ 0x5eed_0000
        ^ set.name.bytes().fold(7, |h: u64, b| h.wrapping_mul(131).wrapping_add(u64::from(b)));
    let data = feed::open(set.scenes.as_ref(), &set.lists, (origin, art), seed, set.count)?;
    feed::check_phrases(&set.name, data.as_ref(), tokenizer)?;
    Ok(data)
}

/// What finished models of any family are measured on.
pub struct EvalSetup {
    recipe: Recipe,
    tokenizer: QueryTokenizer,
    art: Arc<Art>,
    base: PathBuf,
    video: Arc<dyn FrameSource>,
}

impl EvalSetup {
    /// The evaluation sets of `recipe` in the folder `base`, for a model whose own words are in `tokenizer`. `video` decodes
    /// films.
    ///
    /// # Errors
    /// The art is not where the recipe says.
    pub fn new(recipe: Recipe, tokenizer: QueryTokenizer, base: &Path, video: Arc<dyn FrameSource>) -> Result<Self> {
        let art = art_of(&recipe, base)?;
        Ok(Self { recipe, tokenizer, art, base: base.to_path_buf(), video })
    }

    /// As [`Setup::eval_set`].
    ///
    /// # Errors
    /// A list is not where the recipe says.
    pub fn eval_set(&self, set: &EvalSet) -> Result<Box<dyn DataSet>> {
        let origin = Origin { base: &self.base, video: self.video.as_ref(), dense: false };
        eval_set(&self.recipe, set, (origin, &self.art), &self.tokenizer)
    }
}

/// What a run reads.
pub(crate) struct Data {
    pub(crate) feed: Feed,
    pub(crate) watched: Vec<(EvalSet, Box<dyn DataSet>)>,
}

impl Data {
    /// Words that are learnt from the data become part of `setup`.
    pub(crate) fn open(setup: &mut Setup) -> Result<Self> {
        let (recipe, config) = (&mut setup.recipe, &setup.config);
        if recipe.canvases.is_empty() && !config.canvases.is_empty() {
            let all = config.all_canvases().into_iter();
            recipe.canvases = all.map(|canvas| [canvas.width, canvas.height]).collect();
        }
        let own = config.all_canvases();
        let known = |[width, height]: &[usize; 2]| own.iter().any(|own| (own.width, own.height) == (*width, *height));
        if let Some([width, height]) = recipe.canvases.iter().find(|canvas| !known(canvas)) {
            let names: Vec<String> = own.iter().map(ToString::to_string).collect();
            return Err(Error::Unsupported(format!(
                "`canvases` holds {width}x{height}, expected canvases that the model is for: {}",
                names.join(", ")
            )));
        }
        let feed = Feed::new(&setup.recipe, setup.origin(true), &setup.art)?;
        let phrases = &setup.recipe.phrases;
        if phrases.learn {
            setup.tokenizer = setup.tokenizer.with_words_of(phrases.texts(feed.phrases().into_iter()))?;
        }
        let setup = &*setup;
        let watched = setup.recipe.eval.iter().filter(|set| set.watch);
        feed.check_phrases(&setup.tokenizer)?;
        Ok(Self { feed, watched: watched.map(|set| Ok((set.clone(), setup.eval_set(set)?))).collect::<Result<_>>()? })
    }
}

/// Rows of visual tokens start as sines and cosines of the cell's centre: half of the width for x, half for y.
pub(crate) fn smooth_positions(config: &Config, tensors: &mut Tensors, device: &Device) -> Result<()> {
    const NAME: &str = "vl_pos_embed.weight";
    let d = config.vl.hidden_dim;
    let mut rows: Vec<Vec<f32>> = tensors[NAME].to_vec2()?;
    let mut row = 1 + config.max_query_len;
    let canvas = config.position_canvas();
    for level in config.token_levels() {
        let grid = config.level_grid(canvas, level);
        for cell in 0..grid.len() {
            let x = ((cell % grid.w) as f32 + 0.5) / grid.w as f32;
            let y = ((cell / grid.w) as f32 + 0.5) / grid.h as f32;
            for (column, value) in rows[row].iter_mut().enumerate() {
                let (place, column) = if column < d / 2 { (x, column) } else { (y, column - d / 2) };
                let pairs = (d / 4).max(1) as f32;
                // Wavelengths from four canvases down to an eighth of one.
                let angle = std::f32::consts::FRAC_PI_2 * place * 32f32.powf((column / 2) as f32 / pairs);
                *value = if column % 2 == 0 { angle.sin() } else { angle.cos() };
            }
            row += 1;
        }
    }
    let flat: Vec<f32> = rows.into_iter().flatten().collect();
    let shape = tensors[NAME].shape().clone();
    tensors.insert(NAME.to_owned(), Tensor::from_vec(flat, shape, device)?);
    Ok(())
}
