//! Training as a whole: it learns, stops and goes on, and fails as it should.

mod batch;
mod faults;
mod films;
mod frozen;
mod mixed;
mod objective;
mod overfit;
mod recipes;
mod resume;
mod scenes;
mod support;
