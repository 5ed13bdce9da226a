//! `spotter eval`: a model and a recipe's evaluation sets become numbers, and pictures of hits and misses.

mod film;
mod sheet;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blocks::files;
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::Device;
use grounding::Grounder;
use qrnet::plan::CanvasPlan;
use qrnet::{Config, ModelDir, QrNet, weights};
use qrnet_train::batch::Collator;
use qrnet_train::data::clip::Baselines;
use qrnet_train::data::{Example, Guesses};
use qrnet_train::evaluate::{Answers, Compiled, Plain, evaluate};
use qrnet_train::expressions::questions;
use qrnet_train::metrics::{Estimate, IdentityFigures, Summary};
