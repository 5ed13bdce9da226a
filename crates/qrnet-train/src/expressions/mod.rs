//! Questions about pictures.

pub(crate) mod grammar;
