//! The text side: tokenizer and text tower.

pub mod bert;
mod config;
pub mod pretrained;
pub mod query_file;
pub mod tokenizer;
pub mod tower;

pub use config::BertConfig;
