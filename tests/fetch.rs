//! Public models: fetched by name from a hub on loopback, listed, used, removed, and never fetched unasked.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Ran, Scratch, command, picture, repository};

#[path = "../crates/hub/tests/it/server.rs"]
#[expect(dead_code, reason = "the client's own tests use the rest")]
mod server;

use server::{COMMIT, HubServer, REPOSITORY, Reply};

/// A small model of the Grounding DINO family, as Hugging Face's library writes one.
fn fixture(model: &str, file: &str) -> Vec<u8> {
    std::fs::read(repository().join("crates/grounding-dino/tests/fixtures").join(model).join(file)).expect("read")
}

fn server() -> HubServer {
    let file = |name: &str| fixture("mm-7", name);
    HubServer::start(&[
        ("config.json", &file("config.json"), false),
        ("preprocessor_config.json", &file("preprocessor_config.json"), false),
        ("tokenizer.json", &file("tokenizer.json"), true),
        ("model.safetensors", &file("model.safetensors"), true),
    ])
}

/// The program with a cache in `home` and a hub.
fn with(home: &Scratch, hub: &str, args: &[&str]) -> Command {
    let mut command = command(args);
    command.env("SPOTTER_HOME", home.path()).env("HF_ENDPOINT", hub).env("HF_TOKEN", "hf_s3cret");
    command
}

fn ran(home: &Scratch, hub: &str, args: &[&str]) -> Ran {
    with(home, hub, args).output().expect("starts").into()
}

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:1";

#[test]
fn a_model_is_fetched_listed_used_and_removed() {
    let (home, server) = (Scratch::new(), server());
    let folder = home.file("models/lab--model");
    let fetched = ran(&home, server.address(), &["fetch", REPOSITORY]).expect_success();
    assert_eq!(fetched.stdout, format!("{folder}\n"));
    assert!(fetched.stderr.contains(&format!("lab/model: fetched (commit {COMMIT})")), "{}", fetched.stderr);
    assert!(!fetched.stderr.contains("no checksum"), "{}", fetched.stderr);
    let again = ran(&home, NOBODY, &["fetch", REPOSITORY]).expect_success();
    assert!(again.stdout == fetched.stdout && again.stderr.contains("is in the cache"), "{}", again.stderr);

    let listed = ran(&home, NOBODY, &["models"]).expect_success().stdout;
    let known = hub::known().expect("a table");
    assert!(known.iter().all(|known| listed.contains(&known.name) && listed.contains(&known.good_at)), "{listed}");
    assert_eq!(listed.matches("not in the cache").count(), known.len());
    assert!(listed.contains(&format!("lab/model  main\n    complete: {folder}, ")), "{listed}");
    assert!(listed.trim_end().ends_with(&COMMIT[..12]), "{listed}");

    let picture = picture(&home, "street.png", (90, 60));
    let ask = ["ground", &picture, "--query", "a red car", "--threshold", "0", "--model"];
    let by_name = ran(&home, NOBODY, &[&ask[..], &[REPOSITORY]].concat()).expect_success().lines().remove(0);
    let by_path = ran(&home, NOBODY, &[&ask[..], &[&folder]].concat()).expect_success().lines().remove(0);
    assert!(by_name["objects"].as_array().is_some_and(|objects| !objects.is_empty()), "{by_name}");
    assert_eq!(by_name["objects"], by_path["objects"]);

    ran(&home, NOBODY, &["models", "--remove", REPOSITORY]).expect_success();
    assert!(!Path::new(&folder).exists());
    let gone = ran(&home, NOBODY, &["models", "--remove", REPOSITORY]);
    assert!(gone.code == Some(2) && gone.stderr.contains("--remove lab/model: is not in "), "{}", gone.stderr);
}

#[test]
fn an_update_keeps_the_calibration() {
    let (home, server) = (Scratch::new(), server());
    let folder = home.file("models/lab--model");
    ran(&home, server.address(), &["fetch", REPOSITORY]).expect_success();
    let digest = grounding_dino::ModelDir::open(Path::new(&folder)).and_then(|dir| dir.digest()).expect("a digest");
    let calibration = grounding::Calibration::new(&digest, 0.5, 1.0, 0.4, "ten questions");
    calibration.save(Path::new(&folder)).expect("saved");
    let update = |commit: &str| {
        server.commit(&commit.repeat(40));
        ran(&home, server.address(), &["fetch", REPOSITORY, "--update"]).expect_success()
    };
    let check = || ran(&home, NOBODY, &["check", &folder]).expect_success().stdout;
    // Another card, the same weights.
    server.put("README.md", b"# Told anew", false);
    let said = update("e").stderr;
    assert!(said.contains("fetched (commit eeee") && !said.contains("calibration"), "{said}");
    assert!(check().contains("presence    calibrated, there from 0.4"), "{}", check());
    // Other weights: it is not theirs, and not lost.
    let mut weights = fixture("mm-7", "model.safetensors");
    *weights.last_mut().expect("bytes") ^= 1;
    server.put("model.safetensors", &weights, true);
    let said = update("f").stderr;
    assert!(said.contains("lab/model: its weights are others now") && said.contains("calibration.old.json"), "{said}");
    assert!(check().contains("not calibrated"), "{}", check());
    let kept = std::fs::read_to_string(format!("{folder}/calibration.old.json")).expect("kept");
    assert!(kept.contains(&digest), "{kept}");
}

#[test]
fn nothing_is_fetched_unasked() {
    let (home, server) = (Scratch::new(), server());
    let picture = picture(&home, "street.png", (90, 60));
    let ground = ["ground", &picture, "--query", "a red car", "--model", REPOSITORY];
    let run = ["run", "test:ball?frames=2", "--query", "a red car", "--model", REPOSITORY, "--out", "jsonl:-"];
    for args in [&ground[..], &run, &["bench", "--rounds", "1", "--model", REPOSITORY]] {
        let refused = ran(&home, server.address(), args);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
        let said = "lab/model: is no folder, and not in the cache; `spotter fetch lab/model` fetches it, or without a network, copy";
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    let known = ran(&home, server.address(), &["ground", &picture, "--query", "a", "--model", "llmdet-tiny"]);
    assert!(
        known.stderr.contains("`spotter fetch llmdet-tiny` fetches it (about 692 MB, Apache-2.0)"),
        "{}",
        known.stderr
    );
    assert!(server.asked().is_empty());
    // Who says so beforehand is not asked.
    let fetched = ran(&home, server.address(), &[&ground[..], &["--yes"]].concat()).expect_success();
    assert!(fetched.stderr.contains("lab/model: "), "{}", fetched.stderr);
    ran(&home, NOBODY, &ground).expect_success();
}

/// `script` (bsdutils) gives the program a terminal.
#[test]
fn a_terminal_is_asked() {
    let (home, server) = (Scratch::new(), server());
    let picture = picture(&home, "street.png", (90, 60));
    let program = env!("CARGO_BIN_EXE_spotter");
    let line = format!("{program} ground {picture} --query 'a red car' --model {REPOSITORY}");
    let asked = |answer: &str| {
        let mut script = Command::new("script");
        script.args(["-qec", &line, &home.file("shown")]).stdin(Stdio::piped()).stdout(Stdio::null());
        script.env("SPOTTER_HOME", home.path()).env("HF_ENDPOINT", server.address());
        let mut script = script.spawn().expect("script is needed for this test (scripts/setup.sh installs it)");
        std::io::Write::write_all(script.stdin.as_mut().expect("piped"), answer.as_bytes()).expect("written");
        let code = script.wait().expect("ends").code();
        (code, home.read("shown"))
    };
    let (code, shown) = asked("n\n");
    assert!(code == Some(2) && shown.contains("Fetch lab/model from 127.0.0.1:"), "{shown}");
    assert!(server.asked().is_empty());
    let (code, shown) = asked("y\n");
    assert!(code == Some(0) && shown.contains("\"schema\":\"spotter.frame/2\""), "{shown}");
}

#[test]
fn what_cannot_be_run_here_does_not_enter_the_cache() {
    let home = Scratch::new();
    let refused = |server: &HubServer| {
        let refused = ran(&home, server.address(), &["fetch", REPOSITORY]);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{}", refused.stderr);
        assert!(!Path::new(&home.file("models/lab--model")).exists());
        refused.stderr
    };
    let server = server();
    let config = String::from_utf8(fixture("mm-7", "config.json")).expect("UTF-8");
    server.put(
        "config.json",
        config.replace("MMGroundingDinoForObjectDetection", "OwlViTForObjectDetection").as_bytes(),
        false,
    );
    let said = refused(&server);
    assert!(said.contains("lab/model: cannot be run here: config.json: `architectures` is [\"OwlViT"), "{said}");
    assert!(server.downloads().is_empty(), "no weights were fetched");
    server.put("config.json", config.as_bytes(), false);
    server.put("model.safetensors", &fixture("idea-12", "model.safetensors"), true);
    let said = refused(&server);
    assert!(said.contains("lab/model: cannot be run here: model.safetensors: "), "{said}");
    assert!(!said.contains(".partial"), "{said}");
}

#[test]
fn tokens_stay_hidden_and_misspelt_names_are_told() {
    let (home, server) = (Scratch::new(), server());
    let echo = [("X-Error-Message", "no such token: hf_s3cret")];
    server.misbehave(move |_, _| Some(Reply::status(403, &echo)));
    let refused = ran(&home, server.address(), &["fetch", REPOSITORY]);
    assert!(refused.code == Some(1) && refused.stderr.contains("no such token: ***"), "{}", refused.stderr);
    let misspelt = ran(&home, NOBODY, &["fetch", "lmdet-tiny"]);
    assert!(misspelt.code == Some(2) && misspelt.stderr.contains("did you mean llmdet-tiny?"), "{}", misspelt.stderr);
    let offline = with(&home, NOBODY, &["fetch", REPOSITORY]).env("HF_HUB_OFFLINE", "1").output().expect("starts");
    let said = Ran::from(offline).stderr;
    assert!(
        said.contains("HF_HUB_OFFLINE is set; without a network, copy config.json")
            && said.contains(&home.file("models")),
        "{said}"
    );
}

/// What is copied there by hand is taken.
#[test]
fn a_machine_without_a_network_gets_its_files_by_hand() {
    let home = Scratch::new();
    let folder = home.file("models/lab--model");
    std::fs::create_dir_all(&folder).expect("made");
    for name in ["config.json", "preprocessor_config.json", "model.safetensors"] {
        std::fs::write(Path::new(&folder).join(name), fixture("mm-7", name)).expect("written");
    }
    let picture = picture(&home, "street.png", (90, 60));
    let ground = ["ground", &picture, "--query", "a red car", "--model", REPOSITORY];
    let lacking = ran(&home, NOBODY, &ground);
    assert!(lacking.stderr.contains(&format!("{folder} lacks tokenizer.json or vocab.txt")), "{}", lacking.stderr);
    std::fs::write(Path::new(&folder).join("tokenizer.json"), fixture("mm-7", "tokenizer.json")).expect("written");
    ran(&home, NOBODY, &ground).expect_success();
    let listed = ran(&home, NOBODY, &["models"]).expect_success().stdout;
    assert!(listed.trim_end().ends_with("copied there"), "{listed}");
}
