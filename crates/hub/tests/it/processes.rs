//! Several processes and one cache. A test runs this program again for each of them.

use std::process::{Command, Output, Stdio};

use crate::server::{HubServer, Reply, Side};
use crate::support::{Machine, Right, WEIGHTS, patience, server, trust, wanted, weights};

/// Names the hub, for a process that is to fetch from it.
const HUB: &str = "SPOTTER_TEST_HUB";

/// What such a process does; nothing where no test started it.
#[test]
fn fetches_where_it_is_told_to() {
    let Some(hub) = std::env::var_os(HUB) else { return };
    let environment = |name: &str| if name == "HF_ENDPOINT" { Some(hub.clone()) } else { std::env::var_os(name) };
    let settings = hub::Settings::of(&environment).expect("valid");
    let client = hub::Hub::with_patience(settings, trust(), patience()).expect("a client");
    let mut waited = false;
    let fetched = client.fetch(&wanted(), false, &Right::default(), &mut |event| {
        waited |= event == hub::Event::OtherProcess;
    });
    match fetched {
        Ok(fetched) => println!("fetched fresh={} waited={waited}", fetched.fresh),
        Err(error) => println!("failed: {error}"),
    }
}

fn process(server: &HubServer, machine: &Machine, through: Option<&str>) -> Command {
    let program = std::env::current_exe().expect("this program");
    let own = ["--exact", "processes::fetches_where_it_is_told_to", "--nocapture", "--test-threads", "1"];
    let mut command = match through {
        None => Command::new(&program),
        Some(script) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{script}; exec \"$0\" \"$@\"")]).arg(&program);
            shell
        }
    };
    command.args(own).env(HUB, server.address()).env("SPOTTER_HOME", machine.home()).stdout(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find(|line| line.contains("fetched ") || line.contains("failed: ")).unwrap_or(&text).to_owned()
}

#[test]
fn two_processes_at_once_fetch_once_and_both_have_it() {
    let server = server();
    let machine = Machine::new(server.address());
    // The first download is held until the second process waits for it: as long as only one is at it, nothing comes.
    let (seen, here) = (machine.settings.cache.join(".locks/lab--model"), machine.home().join("go"));
    let go = here.clone();
    server.misbehave(move |asked, _| {
        while asked.side == Side::Cdn && !go.exists() {
            std::thread::yield_now();
        }
        None
    });
    let start = || process(&server, &machine, None).spawn().expect("starts");
    let (first, second) = (start(), start());
    // Both have opened the lock's file, and one of them has it: who is second then waits in `flock`.
    let holders = |id: u32| {
        let open = std::fs::read_dir(format!("/proc/{id}/fd")).expect("listed").flatten();
        open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|path| path == seen)).count()
    };
    while holders(first.id()) + holders(second.id()) < 2 {
        std::thread::yield_now();
    }
    std::fs::write(here, "").expect("written");
    let mut ends = [first, second].map(|child| said(&child.wait_with_output().expect("ends")));
    ends.sort();
    assert!(ends[0].contains("fetched fresh=false waited=true"), "{ends:?}");
    assert!(ends[1].contains("fetched fresh=true waited=false"), "{ends:?}");
    assert_eq!(server.downloads().len(), 1);
}

#[test]
fn a_process_that_is_killed_leaves_a_beginning_and_no_lock() {
    let server = server();
    // The rest of the weights never comes.
    server.misbehave(|asked, usual| match usual.clone() {
        Reply::Answer { status: 200, headers, body } if asked.side == Side::Cdn => {
            Some(Reply::Stalled { status: 200, headers, body, after: 120_000 })
        }
        _ => None,
    });
    let machine = Machine::new(server.address());
    let mut child = process(&server, &machine, None).spawn().expect("starts");
    while std::fs::metadata(machine.part()).map_or(0, |part| part.len()) < 120_000 {
        assert!(child.try_wait().expect("its state").is_none(), "it waits for the rest");
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    child.wait().expect("ends");
    machine.expect_nothing();
    server.misbehave(|_, _| None);
    let path = machine.fetch().expect("fetched").path;
    assert_eq!(std::fs::read(path.join(WEIGHTS)).expect("read"), weights(300_000, 1));
    let from: Vec<usize> = server.downloads().iter().map(crate::server::Asked::from).collect();
    assert_eq!(from, [0, 120_000]);
}

/// What a file may not grow beyond fails like a disk that is full.
#[test]
fn a_disk_that_is_full_is_told() {
    let server = server();
    let machine = Machine::new(server.address());
    // In blocks of 512 bytes; without the signal, writing fails.
    let output = process(&server, &machine, Some("trap '' XFSZ; ulimit -f 200")).output().expect("runs");
    let said = said(&output);
    assert!(
        said.contains("failed: cannot write ") && said.contains("model.safetensors.part: File too large"),
        "{said}"
    );
    machine.expect_nothing();
    machine.fetch().expect("with room it comes");
    assert!(server.downloads()[1].from() > 0, "and goes on where it ended");
}
