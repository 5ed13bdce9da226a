//! What the verbs do.

mod batch;
pub mod bench;
mod calibrate;
mod check;
mod contact_sheet;
mod control;
mod convert;
mod doctor;
mod eval;
mod fetch;
mod film;
mod ground;
mod label;
mod models;
mod password;
mod preview;
mod sightings;
mod train;
mod zones;

use crate::cli::{Cli, Verb};
use crate::config::RunSettings;
use crate::error::Result;

/// Does what the command line asks for.
///
/// # Errors
/// Whatever the verb reports.
pub fn dispatch(cli: Cli) -> Result<()> {
    crate::models::consent(cli.yes);
    match cli.verb {
        Verb::Run(args) => {
            crate::pipeline::init()?;
            let settings = RunSettings::resolve(*args)?;
            settings.check_outputs()?;
            crate::run::run(&settings)
        }
        Verb::Batch(args) => batch::run(&args),
        Verb::Control(args) => control::run(args),
        Verb::Sightings(args) => sightings::run(&args),
        Verb::Zones(args) => zones::run(args),
        Verb::Ground(args) => ground::run(&args),
        Verb::Label(args) => label::run(&args),
        Verb::Convert(args) => convert::run(&args),
        Verb::Fetch(args) => fetch::run(&args),
        Verb::Models(args) => models::run(&args),
        Verb::Train(args) => train::run(&args),
        Verb::Eval(args) => eval::run(&args),
        Verb::Calibrate(args) => calibrate::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Doctor(_) => doctor::run(),
        Verb::Password(args) => password::run(&args),
    }
}
