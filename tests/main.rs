//! Behaviour of the program, as its users meet it: the binary itself, real files, other people's tools.

mod bad_input;
mod convert;
mod default_model;
mod eval;
mod ground;
mod house;
mod run;
mod support;
mod train;
