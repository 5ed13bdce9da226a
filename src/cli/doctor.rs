//! `spotter doctor` as typed.

use clap::Args;

/// Say which GStreamer elements, encoders and devices are there, and which Debian package brings a missing one.
///
/// Exit code 1 if something that every run needs is missing.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct DoctorArgs {}
