//! What `examples/deploy/` holds, against the tools that will read it.

use std::process::Command;

use serde_json::Value;

use super::metrics::promtool;
use super::{Service, page};
use crate::support::servers::free_port;
use crate::support::{Scratch, aloud, repository};

#[test]
fn alerts_and_settings_of_prometheus_are_valid() {
    let folder = repository().join("examples/deploy");
    let file = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    promtool(&["check", "rules", &file("alerts.yml")], "");
    promtool(&["check", "config", &file("prometheus.yml")], "");
    let alerts = std::fs::read_to_string(file("alerts.yml")).expect("read");
    assert!(alerts.contains("spotter_up == 0"));
}

#[test]
fn every_metric_of_the_dashboard_is_there() {
    let place = format!("127.0.0.1:{}", free_port());
    let source = ["--source", "test:ball?live=true&size=160x120&fps=25", "--query", "a"];
    let out = ["--out", "rtsp://127.0.0.1:0/x", "--out", "jsonl:-", "--metrics", &place];
    let service = Service::start(&[&source[..], &out].concat());
    service.record("frame", |line| line["seq"].is_number());
    let (_, text) = page(&place, "/metrics");
    promtool(&["check", "metrics"], &text);
    let dashboard = repository().join("examples/deploy/grafana-dashboard.json");
    let dashboard = std::fs::read_to_string(dashboard).expect("there");
    let parsed: Value = serde_json::from_str(&dashboard).expect("JSON");
    assert!(parsed["panels"].as_array().is_some_and(|panels| panels.len() > 5));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names =
        dashboard.split(|c| !is_name(c)).filter(|word| word.starts_with("spotter_") || word.starts_with("process_"));
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() > 8, "{names:?}");
    // Counters with a label for the reason come with the first reason.
    for name in
        names.into_iter().filter(|name| !["spotter_gaps_total", "spotter_failed_reconnects_total"].contains(name))
    {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is in no metric:\n{text}");
    }
    assert!(service.stop().0.success());
}

#[test]
fn the_unit_is_one() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        aloud("SKIPPED: systemd-analyze is not there");
        return;
    }
    let scratch = Scratch::new();
    let unit = std::fs::read_to_string(repository().join("examples/deploy/spotter.service")).expect("read");
    let unit = unit.replace("/usr/local/bin/spotter", env!("CARGO_BIN_EXE_spotter"));
    let unit = scratch.write("spotter.service", unit.as_bytes());
    let output = Command::new("systemd-analyze").args(["verify", &unit]).output().expect("starts");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && !said.contains("spotter.service:"), "{said}");
}
