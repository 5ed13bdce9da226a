//! Against Hugging Face's `transformers`: small random models of both classes, made by `tests/fixtures/make.py`, and bad input.

mod broken;
mod checkpoint;
mod forward;
mod preprocess;
mod several;
mod support;
