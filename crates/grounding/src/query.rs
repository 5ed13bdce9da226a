//! Compiled sentences, whatever the family of the model that they are for.

use std::path::Path;

use blocks::error::Result;
use blocks::text::query_file::QueryFile;
use candle_core::Device;
use qrnet::MemoryModel;

use crate::family::Family;

/// A sentence compiled for one model: what depends on the text alone.
#[derive(Debug, Clone)]
pub struct CompiledQuery(pub(crate) OfFamily);

#[derive(Debug, Clone)]
pub(crate) enum OfFamily {
    QrNet(qrnet::CompiledQuery),
    GroundingDino(grounding_dino::CompiledQuery),
}

impl From<qrnet::CompiledQuery> for CompiledQuery {
    fn from(query: qrnet::CompiledQuery) -> Self {
        Self(OfFamily::QrNet(query))
    }
}

impl From<grounding_dino::CompiledQuery> for CompiledQuery {
    fn from(query: grounding_dino::CompiledQuery) -> Self {
        Self(OfFamily::GroundingDino(query))
    }
}

impl CompiledQuery {
    /// The sentence.
    pub fn text(&self) -> &str {
        match &self.0 {
            OfFamily::QrNet(query) => query.text(),
            OfFamily::GroundingDino(query) => query.text(),
        }
    }

    /// Word pieces that it was cut into, framing included.
    pub fn pieces(&self) -> usize {
        match &self.0 {
            OfFamily::QrNet(query) => query.ids().len(),
            OfFamily::GroundingDino(query) => query.ids().len() + grounding_dino::FRAMING.len(),
        }
    }

    /// Digest of the model that it was compiled for.
    pub fn model(&self) -> &str {
        match &self.0 {
            OfFamily::QrNet(query) => query.model(),
            OfFamily::GroundingDino(query) => query.model(),
        }
    }

    /// Writes it to a file, in full or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        match &self.0 {
            OfFamily::QrNet(query) => query.save(path),
            OfFamily::GroundingDino(query) => query.save(path),
        }
    }

    /// The sentence of a query in a file, whatever model it is for.
    ///
    /// # Errors
    /// The file is no compiled query.
    pub fn text_of(path: &Path) -> Result<String> {
        Ok(QueryFile::open(path)?.text)
    }
}

/// The half of a model that reads text.
pub struct QueryCompiler(Compiler);

enum Compiler {
    QrNet(Box<qrnet::QueryCompiler>),
    GroundingDino(Box<grounding_dino::QueryCompiler>),
}

impl From<qrnet::QueryCompiler> for QueryCompiler {
    fn from(compiler: qrnet::QueryCompiler) -> Self {
        Self(Compiler::QrNet(Box::new(compiler)))
    }
}

impl From<grounding_dino::QueryCompiler> for QueryCompiler {
    fn from(compiler: grounding_dino::QueryCompiler) -> Self {
        Self(Compiler::GroundingDino(Box::new(compiler)))
    }
}

impl QueryCompiler {
    /// Loads the text's half of a model directory.
    ///
    /// # Errors
    /// A file is missing, damaged, or contradicts the configuration.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        match Family::of(dir)? {
            Family::QrNet => qrnet::QueryCompiler::load(dir, device).map(Into::into),
            Family::GroundingDino => grounding_dino::QueryCompiler::load(dir, device).map(Into::into),
        }
    }

    /// The same of a model that lies in memory.
    ///
    /// # Errors
    /// A part is damaged, or contradicts the configuration.
    pub fn from_memory(model: &MemoryModel, device: &Device) -> Result<Self> {
        qrnet::QueryCompiler::from_memory(model, device).map(Into::into)
    }

    /// Digest of the model, which compiled queries carry.
    pub fn digest(&self) -> &str {
        match &self.0 {
            Compiler::QrNet(compiler) => compiler.digest(),
            Compiler::GroundingDino(compiler) => compiler.digest(),
        }
    }

    /// Compiles a sentence. What does not fit the model's length, and words it does not know, are warned of.
    ///
    /// # Errors
    /// The sentence is empty or unreadable for the tokenizer.
    pub fn compile(&self, text: &str) -> Result<CompiledQuery> {
        match &self.0 {
            Compiler::QrNet(compiler) => compiler.compile(text).map(Into::into),
            Compiler::GroundingDino(compiler) => compiler.compile(text).map(Into::into),
        }
    }
}
