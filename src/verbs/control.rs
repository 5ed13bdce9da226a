//! `spotter control`: a command to a run, over its control socket.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::cli::{ControlArgs, ControlCommand};
use crate::config::place_of_control;
use crate::error::{Error, Result};
use crate::service::Command;

/// Sends the command and prints the answer.
///
/// # Errors
/// Nobody listens there, or the run refuses.
pub(super) fn run(args: ControlArgs) -> Result<()> {
    let path = place_of_control(&args.socket)?;
    let command = match args.command {
        ControlCommand::SetQuery { query, name, threshold, stream } => {
            Command::SetQuery { query, name, threshold, stream }
        }
        ControlCommand::AddQuery { query, name, threshold, all, stream } => {
            Command::AddQuery { query, name, threshold, all, stream }
        }
        ControlCommand::RemoveQuery { name, stream } => Command::RemoveQuery { name, stream },
        ControlCommand::Status => Command::Status,
        ControlCommand::Stop => Command::Stop,
    };
    let mut line = serde_json::to_string(&command).map_err(|e| Error::io("encode", &path)(e.into()))?;
    line.push('\n');
    let mut stream = UnixStream::connect(&path).map_err(Error::io("connect to", &path))?;
    stream.write_all(line.as_bytes()).map_err(Error::io("write", &path))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(Error::io("read", &path))?;
    let parsed: Value = serde_json::from_str(&answer)
        .map_err(|_| Error::Usage(format!("{}: the answer is {answer:?}, expected a JSON object", path.display())))?;
    if parsed["ok"] != true {
        let reason = parsed["error"].as_str().unwrap_or("refused, without a reason");
        return Err(Error::Usage(reason.to_owned()));
    }
    // For people in many lines, for programs in one.
    let for_people = std::io::stdout().is_terminal().then(|| serde_json::to_string_pretty(&parsed).ok()).flatten();
    let text = for_people.map_or(answer, |text| text + "\n");
    std::io::stdout().write_all(text.as_bytes()).map_err(Error::io("write", "-".as_ref()))
}
