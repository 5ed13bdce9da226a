//! From a sentence to what frames need of it.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;

use crate::config::Config;
use crate::fusion::compiled::Folding;
use crate::memory::MemoryModel;
use crate::model::QueryModel;
use crate::model_dir::ModelDir;
use crate::params::Part;
use crate::query::CompiledQuery;
use crate::weights;
use blocks::checkpoint::TensorFile;
use blocks::error::{Result, quoted};
use blocks::pass::Pass;
use blocks::text::tokenizer::QueryTokenizer;

/// The half of a model that reads text: compiles sentences for frames that are grounded elsewhere or later.
pub struct QueryCompiler {
    digest: String,
    device: Device,
    model: QueryModel,
    tokenizer: QueryTokenizer,
    folding: Arc<Folding>,
}

impl QueryCompiler {
    /// Loads the text's half of a model directory.
    ///
    /// # Errors
    /// A file is missing, damaged, or contradicts the configuration.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let dir = ModelDir::open(dir)?;
        let file = TensorFile::open(&dir.weights())?;
        weights::check(&file, dir.config(), |spec| spec.part != Part::Frame)?;
        let vb = weights::lazy_builder(file, device);
        let folding = Arc::new(Folding::new(dir.config(), &vb)?);
        Self::new(dir.config(), &vb, dir.load_tokenizer()?, dir.digest()?, folding)
    }

    /// The same of a model that lies in memory.
    ///
    /// # Errors
    /// A part is damaged, or contradicts the configuration.
    pub fn from_memory(model: &MemoryModel, device: &Device) -> Result<Self> {
        let parts = model.open(device)?;
        let vb = weights::builder(&parts.tensors, device);
        let folding = Arc::new(Folding::new(&parts.config, &vb)?);
        Self::new(&parts.config, &vb, parts.tokenizer, parts.digest, folding)
    }

    pub(crate) fn new(
        config: &Config,
        vb: &VarBuilder,
        tokenizer: QueryTokenizer,
        digest: String,
        folding: Arc<Folding>,
    ) -> Result<Self> {
        Ok(Self { digest, device: vb.device().clone(), model: QueryModel::new(config, vb)?, tokenizer, folding })
    }

    /// Digest of the model, which compiled queries carry.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Compiles a sentence. What does not fit the model's length, and words it does not know, are warned of.
    ///
    /// # Errors
    /// The sentence is empty or unreadable for the tokenizer.
    pub fn compile(&self, text: &str) -> Result<CompiledQuery> {
        let encoded = self.tokenizer.read(text)?;
        if !encoded.in_pieces.is_empty() {
            tracing::warn!(
                "query {}: {:?} is no word that the model's tokenizer has whole; what is found may mean nothing",
                quoted(text),
                encoded.in_pieces
            );
        }
        self.compile_pieces(text, encoded.ids)
    }

    /// Compiles the empty sentence, only framing pieces: touches every weight of the text side whatever the vocabulary.
    ///
    /// # Errors
    /// A device error.
    pub fn compile_framing(&self) -> Result<CompiledQuery> {
        self.compile_pieces("", self.tokenizer.framing().to_vec())
    }

    fn compile_pieces(&self, text: &str, pieces: Vec<u32>) -> Result<CompiledQuery> {
        let count = pieces.len();
        let (ids, ignore) = self.tokenizer.pad_to_length(&pieces);
        let ids = Tensor::new(ids, &self.device)?.unsqueeze(0)?;
        let ignore = Tensor::new(ignore, &self.device)?.unsqueeze(0)?;
        let query = self.model.encode(&ids, &ignore, &mut Pass::eval())?;
        let tokens = query.tokens.squeeze(0)?.narrow(0, 0, count)?.contiguous()?;
        let qkv = self.folding.text_qkv(&tokens)?;
        Ok(CompiledQuery::new(text.to_owned(), pieces, self.digest.clone(), query.gates, tokens, qkv))
    }
}
