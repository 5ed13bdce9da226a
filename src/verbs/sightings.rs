//! `spotter sightings`: what was seen, from what keeps it.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use records::{EVENT_SCHEMA, Event, EventKind, Format, RecordFile, RecordPlace};
use serde_json::{Value, json};

use crate::cli::{ExportFormat, FilterArgs, SightingsArgs, SightingsCommand};
use crate::error::{Error, Result};
use crate::sightings::index::{Filter, Kept, open};

/// # Errors
/// Nothing keeps sightings there, or there is none of that id.
pub(super) fn run(args: &SightingsArgs) -> Result<()> {
    let text = match &args.command {
        SightingsCommand::List { from, filter } => table(&open(from)?.list(&resolve(filter)?)?),
        SightingsCommand::Show { from, id } => {
            let lacking = || Error::Usage(format!("{}: has no sighting {id:?}", from.display()));
            let kept = open(from)?.get(id)?.ok_or_else(lacking)?;
            let text = serde_json::to_string_pretty(&value(&kept));
            text.map_err(|e| Error::io("encode", from)(e.into()))? + "\n"
        }
        SightingsCommand::Export { from, filter, format } => {
            let all = open(from)?.list(&resolve(filter)?)?;
            match format {
                ExportFormat::Jsonl => all.iter().flat_map(|kept| [value(kept).to_string(), "\n".to_owned()]).collect(),
                ExportFormat::Table => return export_table(&all),
            }
        }
    };
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(Error::io("write", Path::new("-")))
}

fn resolve(args: &FilterArgs) -> Result<Filter> {
    let FilterArgs { query, stream, zone, since, until } = args.clone();
    let time = |flag: &str, text: Option<String>| text.map(|text| nanoseconds(flag, &text)).transpose();
    let (since_unix_ns, until_unix_ns) = (time("since", since)?, time("until", until)?);
    Ok(Filter { query, stream, zone, since_unix_ns, until_unix_ns, ..Filter::default() })
}

fn nanoseconds(flag: &str, text: &str) -> Result<i64> {
    let time = humantime::parse_rfc3339_weak(text);
    let time = time.map_err(|e| {
        let expected = "expected a time in UTC, as in 2026-11-30T18:00:00Z";
        Error::Usage(format!("--{flag} {text}: {e}; {expected}"))
    })?;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

fn value(kept: &Kept) -> Value {
    let mut value = json!(kept.sighting);
    value["cause"] = json!(kept.cause);
    value
}

/// A line for each.
fn table(all: &[Kept]) -> String {
    let row = |Kept { sighting, cause }: &Kept| {
        let began = u64::try_from(sighting.start_unix_ns).unwrap_or(0);
        let began: SystemTime = UNIX_EPOCH + Duration::from_nanos(began);
        [
            humantime::format_rfc3339_seconds(began).to_string(),
            format!("{:.1} s", sighting.length_ns() as f64 / 1e9),
            sighting.stream.clone(),
            sighting.query.clone(),
            sighting.zones.join(", "),
            cause.clone().unwrap_or_else(|| "open".into()),
            sighting.files.iter().map(|file| file.kind.as_str()).collect::<Vec<_>>().join(", "),
            sighting.id.clone(),
        ]
    };
    let rows: Vec<[String; 8]> = all.iter().map(row).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..8).map(width).collect();
    let line = |row: &[String; 8]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The table that a run writes with `--out sightings:FILE`.
fn export_table(all: &[Kept]) -> Result<()> {
    let file = RecordFile::new(&RecordPlace::new(Format::Sightings, "-"), true);
    for Kept { sighting, cause } in all {
        let kind = EventKind::SightingEnd { sighting, cause: cause.as_deref().unwrap_or_default() };
        let event = Event { schema: EVENT_SCHEMA, run_id: "", source: &sighting.stream, kind: &kind };
        file.write(records::Line::Event(&event))?;
    }
    file.finish().map_err(Error::from)
}
