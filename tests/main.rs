//! Behaviour of the program, as its users meet it: the binary itself, real files, other people's tools.

mod bad_input;
mod batch;
mod bench;
mod check;
mod clips;
mod convert;
mod default_model;
mod documented;
mod eval;
mod faults;
mod formats;
mod ground;
mod house;
mod messages;
mod metadata;
mod one_frame;
mod profile;
mod queries;
mod rtsp;
mod run;
mod served;
mod soak;
mod sources;
mod support;
mod train;
mod web;
