//! The client against a hub on loopback: what comes whole, what comes in pieces, and what does not come.

mod answers;
mod interrupted;
mod processes;
mod server;
mod support;
mod whole;
