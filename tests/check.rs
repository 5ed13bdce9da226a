//! `spotter check`: would a verb take this file?

use crate::support::{Scratch, aloud, model, repository, spotter};

#[test]
fn every_file_that_ships_is_taken() {
    let mut files = Vec::new();
    for folder in ["pipelines", "configs", "configs/model", "configs/train"] {
        let entries = std::fs::read_dir(repository().join(folder)).expect("a folder");
        files.extend(
            entries
                .map(|e| e.expect("an entry").path())
                .filter(|path| path.extension().is_some_and(|e| e == "toml" || e == "streams")),
        );
    }
    assert!(files.len() > 15, "{files:?}");
    for file in files {
        let name = file.to_str().expect("UTF-8");
        let ran = spotter(&["check", name]);
        if ran.code != Some(0) && name.ends_with("vaapi.toml") {
            aloud(&format!("{name} is not built here: {}", ran.stderr.trim()));
            assert!(ran.stderr.contains("needs the GStreamer element vah264dec"), "{}", ran.stderr);
            continue;
        }
        assert!(!ran.expect_success().stdout.is_empty(), "{name}");
    }
}

#[test]
fn a_runs_settings_are_read_back() {
    let scratch = Scratch::new();
    let model = model();
    let text = format!(
        "source = \"test:ball?frames=3\"\nquery = \"a\"\nmodel = \"{model}\"\nout = [\"jsonl:-\"]\nstride = 2\n"
    );
    let file = scratch.write("run.toml", text.as_bytes());
    let checked = spotter(&["check", &file]).expect_success();
    for line in ["source      test:ball", "query       a", "mode        every-frame", "out         jsonl:-"] {
        assert!(checked.stdout.contains(line), "{line} in {}", checked.stdout);
    }
    let ran = spotter(&["run", "--config", &file]).expect_success();
    assert_eq!(ran.lines().iter().filter(|line| line["status"] == "skipped").count(), 1);
    let ran = spotter(&["run", "--config", &file, "--stride", "1"]).expect_success();
    assert_eq!(ran.lines().iter().filter(|line| line["status"] == "skipped").count(), 0, "flags win");
}

#[test]
fn a_recipes_labels_are_read_where_they_are_there() {
    let scratch = Scratch::new();
    let recipe = scratch.write(
        "film.toml",
        b"name = \"film\"\nseed = 1\nmodel = \"tiny\"\ntokenizer = \"words\"\nsteps = 1\nbatch = 1\n\
          optimiser = { rate = 1e-3, weight_decay = 0.0 }\n[[phase]]\n[[phase.lists]]\nformat = \"clip\"\n\
          clip = \"film.mp4\"\nlabels = \"gt.csv\"\nqueries = \"queries.toml\"\nframes = [[1, 2]]\n",
    );
    scratch.write("queries.toml", b"[[referent]]\nname = \"it\"\ntracks = [1]\nphrases = [\"red box\"]\n");
    // Nobody looks into the film.
    scratch.write("film.mp4", b"");
    let said = spotter(&["check", &recipe]).expect_success().stdout;
    assert!(said.contains("gt.csv is not there"), "{said}");
    scratch.write("gt.csv", b"1,1,5,5,20,20\n2,1,6,5,20,20\n");
    let said = spotter(&["check", &recipe]).expect_success().stdout;
    assert!(said.contains("2 frames, 1 to ask for"), "{said}");
    scratch.write("gt.csv", b"1,1,5,5,20,20\n2,1,6,5,none,20\n");
    let ran = spotter(&["check", &recipe]);
    assert_ne!(ran.code, Some(0));
    assert!(ran.stderr.contains("gt.csv, line 2: `width` is \"none\""), "{}", ran.stderr);
    scratch.write("gt.csv", b"1,1,5,5,20,20\n1,2,5,5,20,20\n2,2,6,5,20,20\n9,1,5,5,20,20\n12,2,6,5,20,20\n");
    let text = scratch.read("film.toml").replace("frames = [[1, 2]]", "frames = [[2, 8]]\nfill = 2");
    scratch.write("film.toml", text.as_bytes());
    let said = spotter(&["check", &recipe]).expect_success().stderr;
    for warning in ["2 gaps between boxes of a track are longer than `fill` = 2", "frames 2 to 8 show nothing"] {
        assert!(said.contains(warning), "{said}");
    }
}

#[test]
fn what_a_recipe_names_and_lacks_is_a_warning() {
    let scratch = Scratch::new();
    let recipe = scratch.write(
        "photographs.toml",
        b"name = \"photographs\"\nseed = 1\nmodel = \"tiny\"\ntokenizer = \"media/photographs/vocab.txt\"\nsteps = 1\n\
          batch = 1\ninit = { model = \"before\" }\noptimiser = { rate = 1e-3, weight_decay = 0.0 }\n[[phase]]\n\
          [[phase.lists]]\nformat = \"boxes\"\nfile = \"labels.jsonl\"\n",
    );
    let warned = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("warning ")).map(|line| scratch.generic(line)).collect()
    };
    let said = spotter(&["check", &recipe]).expect_success().stdout;
    let expected = [
        "warning     `tokenizer`: DIR/media/photographs/vocab.txt is not there; scripts/fetch-photograph-weights.sh brings it",
        "warning     `init.model`: DIR/before is not there",
        "warning     labels: DIR/labels.jsonl is not there",
    ];
    assert_eq!(warned(&said), expected, "{said}");
    let ran = spotter(&["train", &recipe, "--out", &scratch.file("run")]);
    assert!(ran.code == Some(1) && ran.stderr.contains("fetch-photograph-weights.sh brings it"), "{}", ran.stderr);
    scratch.write("before", b"");
    let said = spotter(&["check", &recipe]).expect_success().stdout;
    assert_eq!(warned(&said), [expected[0], expected[2]], "{said}");
}

#[test]
fn what_is_wrong_is_named_with_file_line_and_key() {
    let scratch = Scratch::new();
    let check = |name: &str, text: &str| {
        let file = scratch.write(name, text.as_bytes());
        let ran = spotter(&["check", &file]);
        assert_ne!(ran.code, Some(0), "{name}");
        assert_eq!(ran.stdout, "");
        scratch.generic(&ran.stderr)
    };
    insta::assert_snapshot!("check_run_key", check("a.toml", "source = \"test:\"\nquerry = \"a\"\n"));
    insta::assert_snapshot!("check_run_device", check("h.toml", "source = \"test:\"\ndevice = \"quantum\"\n"));
    insta::assert_snapshot!("check_run_pattern", check("i.toml", "source = \"test:nonsense\"\n"));
    insta::assert_snapshot!("check_run_rate", check("j.toml", "source = \"test:\"\nmax_fps = 1e-12\n"));
    insta::assert_snapshot!("check_pipeline_end", check("k.toml", "[[sink]]\nlaunch = \"videotestsrc ! fakesink\"\n"));
    insta::assert_snapshot!(
        "check_pipeline_target",
        check("l.toml", "[[sink]]\ntarget = \"avi\"\nlaunch = \"fakesink\"\n")
    );
    insta::assert_snapshot!("check_run_value", check("b.toml", "source = \"test:\"\nstride = 0\n"));
    insta::assert_snapshot!("check_run_type", check("c.toml", "source = \"test:\"\nmode = \"fast\"\n"));
    insta::assert_snapshot!("check_run_out", check("d.toml", "source = \"test:\"\nout = [\"avi:x\"]\n"));
    insta::assert_snapshot!("check_pipeline_element", check("e.toml", "[[sink]]\nlaunch = \"nosuchthing\"\n"));
    insta::assert_snapshot!("check_pipeline_hole", check("f.toml", "[source]\nlaunch = \"filesrc location={path}\"\n"));
    insta::assert_snapshot!("check_no_toml", check("g.toml", "this is no toml"));
}
