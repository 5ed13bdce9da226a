//! Another program's reading of docs/openapi.json: schemathesis makes requests of it, right ones and wrong ones, and holds the answers to it.

use std::process::{Command, Stdio};

use serde_json::json;

use super::{place, tell};
use crate::served::Service;
use crate::support::{Scratch, aloud, command, repository};

const PASSWORD: &str = "correct horse battery";
const TOKEN: &str = "0123456789abcdef0123456789abcdef-program";
/// Every operation is asked so often at most.
const EXAMPLES: &str = "25";
/// The same requests every time.
const SEED: &str = "24";

/// A page with all that it can have: a file with zones, a folder of sightings, a password and a token.
fn whole(scratch: &Scratch) -> Service {
    let password = scratch.write("plain", PASSWORD.as_bytes());
    let hashed = command(&["password"]).stdin(std::fs::File::open(password).expect("opened")).output().expect("runs");
    let hash = scratch.write("password", &hashed.stdout);
    let token = scratch.write("token", TOKEN.as_bytes());
    let folder = scratch.file("kept");
    std::fs::create_dir(&folder).expect("made");
    let settings = format!(
        "[[stream]]\nid = \"gate\"\nsource = \"test:ball?live=true&size=160x120&fps=5\"\nquery = \"the white circle\"\n\n\
         [[stream.zone]]\nname = \"drive\"\npoints = [[0.1, 0.5], [0.5, 0.5], [0.4, 0.9]]\n\n\
         [sightings]\ndir = {folder:?}\nsnapshots = true\n"
    );
    let file = scratch.write("run.toml", settings.as_bytes());
    let page = ["--page", "127.0.0.1:0", "--page-password", &hash, "--page-token", &token];
    Service::start(&[&["--config", &file, "--threshold", "0"], &page[..]].concat())
}

#[test]
fn answers_are_what_another_program_expects_of_the_description() {
    let packages = repository().join("target/schemathesis");
    if !packages.join("bin/schemathesis").exists() {
        aloud(&format!("SKIPPED: {} is not there (make peers)", packages.display()));
        return;
    }
    let scratch = Scratch::new();
    let service = whole(&scratch);
    let place = place(&service);
    let entered = tell(&place, "POST", "/api/v1/session", &json!({ "password": PASSWORD }));
    assert_eq!(entered.status, 204, "{}", entered.text());
    // What goes on for as long as the stream does has no answer that could be read to its end.
    let endless = ["/api/v1/findings", "/stream/{name}.mjpg"];
    // Right in its form, and wrong all the same: places whose edges cross.
    let expected = json!(["2xx", "401", "403", "404", "409", "422", "426", "429"]);
    let settings = format!(
        "[auth.openapi.token]\nbearer = {TOKEN:?}\n\n[checks.positive_data_acceptance]\nexpected-statuses = {expected}\n"
    );
    scratch.write("schemathesis.toml", settings.as_bytes());
    let mut python = Command::new("python3");
    python.arg(packages.join("bin/schemathesis")).env("PYTHONPATH", &packages).current_dir(scratch.path());
    python.args(["run"]).arg(repository().join("docs/openapi.json"));
    python.args(["--url", &format!("http://{place}")]);
    python.args([
        "--checks",
        "all",
        "--max-examples",
        EXAMPLES,
        "--seed",
        SEED,
        "--request-timeout",
        "20",
        "--no-color",
    ]);
    python.args(["--workers", "2", "--continue-on-failure", "--suppress-health-check", "all"]);
    for path in endless {
        python.args(["--exclude-path", path]);
    }
    let output = python.stdin(Stdio::null()).output().expect("python3 starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Tested: 18"), "{said}");
}
