//! Models in fewer bytes, and packed weights beside models: `spotter convert --precision` and `--packed`, and who uses them.

use crate::support::{Scratch, model_with_presence, picture, spotter};

/// Boxes of a picture, as the model in `dir` has them in `precision`, and what the program says of it.
fn boxed(scratch: &Scratch, dir: &str, precision: &str) -> (serde_json::Value, String) {
    let picture = picture(scratch, "a.png", (100, 50));
    let args = ["ground", &picture, "--query", "abc", "--model", dir, "--precision", precision, "--device", "cpu"];
    let ran = spotter(&args).expect_success();
    let line = &ran.lines()[0];
    (serde_json::json!([line["box_norm"], line["presence"]]), ran.stderr)
}

#[test]
fn a_model_in_bytes_gives_what_bytes_give() {
    let scratch = Scratch::new();
    let model = model_with_presence();
    for precision in ["int8", "bf16", "f32"] {
        let narrow = scratch.file(precision);
        spotter(&["convert", &model, "--precision", precision, "--out", &narrow]).expect_success();
        let deep = spotter(&["check", &narrow, "--deep"]).expect_success();
        assert!(deep.stdout.contains("verified"), "{}", deep.stdout);
        assert_eq!(boxed(&scratch, &model, precision).0, boxed(&scratch, &narrow, precision).0, "{precision}");
        let size = |dir: &str| std::fs::metadata(format!("{dir}/model.safetensors")).expect("there").len();
        assert_eq!(size(&narrow) < size(&model), precision != "f32", "{precision}");
        assert!(scratch.read(&format!("{precision}/README.md")).contains(&format!("Weights in {precision}")));
    }
    // Bytes are for models, and no element type of checkpoints.
    let file = scratch.file("out.safetensors");
    let refused = spotter(&["convert", &model, "--precision", "int8", "--out", &file]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("are for model directories"), "{}", refused.stderr);
}

#[test]
fn packed_weights_are_found_and_those_of_another_model_told_once() {
    let scratch = Scratch::new();
    let (first, second) = (scratch.file("first"), scratch.file("second"));
    for (dir, seed) in [(&first, "1"), (&second, "2")] {
        spotter(&["convert", "--random", seed, "--config", "tiny", "--out", dir]).expect_success();
    }
    let before = boxed(&scratch, &first, "int8").0;
    let packed = spotter(&["convert", &first, "--packed", "--precision", "int8"]).expect_success();
    assert!(packed.stderr.contains("model.int8.packed"), "{}", packed.stderr);
    let (after, said) = boxed(&scratch, &first, "int8");
    assert_eq!(before, after);
    assert!(!said.contains("packed"), "{said}");
    let check = spotter(&["check", &first, "--deep"]).expect_success();
    assert!(check.stdout.contains("packed      int8, verified"), "{}", check.stdout);
    // What lies there is what is multiplied: other bytes give another answer.
    let (file, copy) = (format!("{first}/model.int8.packed"), scratch.file("whole"));
    std::fs::copy(&file, &copy).expect("copied");
    let mut bytes = std::fs::read(&file).expect("read");
    // Behind the beginning of the file, before the header at its end.
    let end = bytes.len() / 2;
    bytes[64..end].iter_mut().for_each(|byte| *byte ^= 0x15);
    let changed = scratch.file("changed");
    std::fs::write(&changed, bytes).expect("written");
    std::fs::rename(changed, &file).expect("replaced");
    assert_ne!(boxed(&scratch, &first, "int8").0, before, "packed weights are used");
    std::fs::rename(&copy, &file).expect("put back");

    // Another model's, in the place of its own.
    let alone = boxed(&scratch, &second, "int8").0;
    std::fs::copy(format!("{first}/model.int8.packed"), format!("{second}/model.int8.packed")).expect("copied");
    let (found, said) = boxed(&scratch, &second, "int8");
    assert_eq!(found, alone, "it is left alone");
    let command = format!("`spotter convert {second} --packed --precision int8`");
    assert_eq!(said.matches(&command).count(), 1, "{said}");
    assert!(!boxed(&scratch, &second, "f32").1.contains("packed"), "another precision does not look for it");
    let check = spotter(&["check", &second]);
    assert_eq!(check.code, Some(1));
    assert!(check.stderr.contains("holds weights of model") && check.stderr.contains(&command), "{}", check.stderr);
    spotter(&["convert", &second, "--packed", "--precision", "int8"]).expect_success();
    assert_eq!(boxed(&scratch, &second, "int8").0, alone);
    spotter(&["check", &second, "--deep"]).expect_success();

    // With a model that is written anyway; and what has none.
    let both = scratch.file("both");
    spotter(&["convert", &first, "--precision", "bf16", "--packed", "--out", &both]).expect_success();
    assert!(std::path::Path::new(&format!("{both}/model.bf16.packed")).is_file());
    assert_eq!(boxed(&scratch, &both, "bf16").0, boxed(&scratch, &first, "bf16").0);
    spotter(&["convert", &first, "--precision", "bf16", "--packed", "--out", &both, "--force"]).expect_success();
    for (args, reason) in [
        (&["convert", &first, "--packed", "--precision", "f16"][..], "no CPU computes in f16"),
        (&["convert", "--random", "1", "--config", "tiny", "--packed"], "--out PATH: is needed"),
        (&["convert", &first, "--packed", "--out", &scratch.file("a.safetensors")], "are for model directories"),
    ] {
        let ran = spotter(args);
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{args:?}: {}", ran.stderr);
    }
}
