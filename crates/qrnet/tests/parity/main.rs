//! Golden numbers of the reference implementation, compared by name.
//!
//! The fixtures are read from `QRNET_FIXTURES` where it is set, else from `tests/fixtures`. Sizes come from the
//! directory's `tiny.json`, and every tensor and gradient that is present there is checked, so that another set of the
//! same layout, with other sizes and fewer tensors, can be put in its place.
#![expect(clippy::float_cmp, reason = "some numbers must agree to the bit")]

mod compiled;
mod forward;
mod frozen;
mod gradients;
mod loading;
mod mobilenet;
mod preprocess;
mod support;
