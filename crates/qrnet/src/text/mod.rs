//! The text side: tokenizer and text tower.

pub mod bert;
pub mod pretrained;
pub mod tokenizer;
pub mod tower;
