//! The text side: tokenizer and text tower.

pub mod bert;
pub mod tokenizer;
