//! Losses that are no number, and checkpoints that are damaged, of another run, or have no room.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use candle_core::{Device, Tensor};
use qrnet_train::Error;
use qrnet_train::checkpoint::{self, Checkpoint};
use qrnet_train::recipe::Every;
use qrnet_train::trainer::End;

use crate::support::{bits, config, recipe, run, saved, trainer};

fn newest(folder: &Path) -> qrnet_train::Result<Option<Checkpoint>> {
    Checkpoint::newest(folder, &Device::Cpu)
}

fn every_step(keep: usize) -> Every {
    Every { log: 1, checkpoint: 1, keep, ..Every::default() }
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_leaves_the_batch() {
    let (config, mut recipe) = (config(), recipe());
    (recipe.steps, recipe.every) = (5, every_step(2));
    let out = tempfile::tempdir().expect("a folder");
    run(&recipe, &config, out.path(), Some(3)).expect("runs");
    // What a fault of memory would do: one weight is no number any more.
    let mut broken = newest(out.path()).expect("reads").expect("a checkpoint");
    let weight = &broken.tensors["model.reg_token.weight"];
    let nan = Tensor::full(f32::NAN, weight.shape(), &Device::Cpu).expect("a tensor");
    broken.tensors.insert("model.reg_token.weight".into(), nan);
    broken.step = 4;
    let path = broken.save(out.path(), 3).expect("saved");
    let error = run(&recipe, &config, out.path(), None).err().expect("ends");
    let Error::NotFinite { step, value, batch, .. } = &error else { panic!("{error}") };
    assert!(*step == 4 && value.is_nan(), "{error}");
    assert!(error.to_string().contains("step 4: the loss is NaN; the batch was saved as"), "{error}");
    let tensors = candle_core::safetensors::load(batch, &Device::Cpu).expect("the batch");
    assert_eq!(tensors["image"].dims(), [4, 3, 64, 64]);
    assert_eq!(tensors["ids"].dims(), [4, config.max_query_len]);
    assert_eq!((tensors["image_ignore"].dims(), tensors["text_ignore"].dims()), (&[4, 64, 64][..], &[4, 14][..]));
    let header = blocks::checkpoint::TensorFile::open(batch).and_then(|file| file.metadata()).expect("a header");
    assert_eq!(header["phrases"].lines().count(), 4);
    // The checkpoints of before are there; without the broken one the run goes on from them.
    assert_eq!(saved(out.path()), [2, 3, 4]);
    std::fs::remove_file(path).expect("removed");
    assert_eq!(run(&recipe, &config, out.path(), None).expect("runs").1, End::Finished);
}

#[test]
fn a_gradient_that_is_no_number_ends_the_run_though_the_loss_is_one() {
    let (config, mut recipe) = (config(), recipe());
    (recipe.steps, recipe.every) = (2, every_step(2));
    // The loss is finite, the norm of its gradient is not.
    recipe.loss.presence = 1e38;
    let out = tempfile::tempdir().expect("a folder");
    let error = run(&recipe, &config, out.path(), None).err().expect("ends");
    assert!(error.to_string().contains("step 0: the norm of the gradient is"), "{error}");
    let Error::NotFinite { batch, .. } = &error else { panic!("{error}") };
    assert!(batch.is_file() && saved(out.path()).is_empty(), "the batch is there, and no checkpoint of broken weights");
}

#[test]
fn the_last_ones_are_kept_and_the_best() {
    let (config, mut recipe) = (config(), recipe());
    (recipe.steps, recipe.every) = (6, every_step(3));
    let out = tempfile::tempdir().expect("a folder");
    run(&recipe, &config, out.path(), None).expect("runs");
    assert_eq!(saved(out.path()), [4, 5, 6]);
}

#[test]
fn damaged_and_foreign_files_are_named() {
    let (config, mut recipe) = (config(), recipe());
    (recipe.steps, recipe.every) = (3, every_step(3));
    let out = tempfile::tempdir().expect("a folder");
    assert!(newest(out.path()).expect("reads").is_none(), "nothing to go on from");
    assert!(newest(&out.path().join("nowhere")).expect("reads").is_none());
    run(&recipe, &config, out.path(), Some(2)).expect("runs");
    let (_, last) = checkpoint::list(out.path()).expect("a list").pop().expect("two");
    let whole = std::fs::read(&last).expect("read");
    let message = |bytes: &[u8]| {
        std::fs::write(&last, bytes).expect("written");
        let error = Checkpoint::load(&last, &Device::Cpu).expect_err("is refused");
        assert_eq!(newest(out.path()).expect("reads").expect("the one before").step, 1);
        assert!(error.to_string().starts_with(last.to_str().expect("UTF-8")), "{error}");
        error.to_string()
    };
    for length in [whole.len() - 1, whole.len() / 2, 100, 8, 1] {
        let text = message(&whole[..length]);
        assert!(text.contains("neither whole safetensors"), "{length} bytes: {text}");
    }
    assert!(message(b"").contains("is empty"));
    assert!(message(b"{\"step\": 2}").contains("neither whole safetensors"));
    // Weights are tensors too, but nothing to go on from.
    let tensors: Vec<(String, Tensor)> = trainer(&recipe, &config).weights().into_iter().collect();
    blocks::checkpoint::save(&tensors, None, &last).expect("saved");
    let text = Checkpoint::load(&last, &Device::Cpu).expect_err("is refused").to_string();
    assert!(text.contains("is no checkpoint of a training run"), "{text}");
    // A run goes on from the older one, and writes the damaged one anew.
    run(&recipe, &config, out.path(), None).expect("goes on");
    assert_eq!(Checkpoint::load(&last, &Device::Cpu).expect("whole").step, 2);
    // Where none is whole there is nothing to go on from in silence.
    for (_, path) in checkpoint::list(out.path()).expect("a list") {
        std::fs::write(path, b"").expect("written");
    }
    assert!(newest(out.path()).expect_err("is refused").to_string().contains("is empty"));
}

#[test]
fn a_checkpoint_of_another_model_or_other_losses_is_refused() {
    let (config, mut recipe) = (config(), recipe());
    (recipe.steps, recipe.every) = (1, every_step(1));
    let out = tempfile::tempdir().expect("a folder");
    run(&recipe, &config, out.path(), None).expect("runs");
    let checkpoint = newest(out.path()).expect("reads").expect("a checkpoint");
    let refused = |recipe: &qrnet_train::recipe::Recipe, config: &qrnet::Config| {
        trainer(recipe, config).restore(&checkpoint).expect_err("is refused").to_string()
    };
    let mut other = config.clone();
    other.vl.dim_feedforward = 48;
    let text = refused(&recipe, &other);
    assert!(text.contains("of step 1") && text.contains("found shape [64], expected shape [48]"), "{text}");
    recipe.ema = 0.9;
    let text = refused(&recipe, &config);
    assert!(text.contains("tensor ema.") && text.contains("found none"), "{text}");
}

#[test]
fn checkpoints_of_before_the_one_header_key_still_do() {
    let (config, mut recipe) = (config(), recipe());
    (recipe.steps, recipe.every) = (4, every_step(9));
    let (whole, old) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    run(&recipe, &config, whole.path(), None).expect("runs");
    let (_, second) = checkpoint::list(whole.path()).expect("a list").swap_remove(1);
    let second = Checkpoint::load(&second, &Device::Cpu).expect("reads");
    let header = [("step", "2"), ("best", "0.25"), ("best_step", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let tensors: Vec<(String, Tensor)> = second.tensors.into_iter().collect();
    let path = old.path().join("checkpoint-00000002.safetensors");
    blocks::checkpoint::save(&tensors, Some(header.into()), &path).expect("saved");
    let read = newest(old.path()).expect("reads").expect("a checkpoint");
    assert_eq!((read.step, read.best), (2, Some((0.25, 1))));
    run(&recipe, &config, old.path(), None).expect("goes on");
    let last = |folder: &Path| newest(folder).expect("reads").expect("a checkpoint").tensors;
    let (expected, found) = (last(whole.path()), last(old.path()));
    assert!(expected.iter().all(|(name, tensor)| bits(tensor) == bits(&found[name])));
}

#[test]
fn a_file_that_a_killed_save_left_is_no_checkpoint() {
    let (config, mut recipe) = (config(), recipe());
    (recipe.steps, recipe.every) = (3, every_step(2));
    let out = tempfile::tempdir().expect("a folder");
    run(&recipe, &config, out.path(), Some(2)).expect("runs");
    let (_, last) = checkpoint::list(out.path()).expect("a list").pop().expect("some");
    let half = std::fs::read(last).map(|bytes| bytes[..bytes.len() / 2].to_vec()).expect("read");
    for name in [".tensors-a1b2c3", "checkpoint-00000009.safetensors.part", "checkpoint-x.safetensors"] {
        std::fs::write(out.path().join(name), &half).expect("written");
    }
    assert_eq!(newest(out.path()).expect("reads").expect("a checkpoint").step, 2);
    assert_eq!(run(&recipe, &config, out.path(), None).expect("goes on").1, End::Finished);
}

/// A file system that is gone with its guard.
struct Small(tempfile::TempDir);

impl Small {
    /// None where this process may not mount one.
    fn mount(bytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let size = format!("size={bytes}");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        done.is_ok_and(|output| output.status.success()).then(|| Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_costs_no_older_checkpoint() {
    let (config, mut recipe) = (config(), recipe());
    (recipe.steps, recipe.every) = (3, every_step(1));
    let start = trainer(&recipe, &config).checkpoint();
    let probe = tempfile::tempdir().expect("a folder");
    let size = start.save(probe.path(), 1).map(|path| std::fs::metadata(path).expect("there").len());
    let Some(small) = Small::mount(size.expect("saved") as usize * 3 / 2) else {
        let why =
            "SKIPPED: a full disk needs the right to mount a tmpfs; tests/train.rs of the program limits files instead";
        writeln!(std::io::stderr(), "{why}").expect("written");
        return;
    };
    let folder = small.0.path();
    start.save(folder, 1).expect("there is room for one");
    let next = Checkpoint { step: 1, ..start.clone() };
    let error = next.save(folder, 1).expect_err("but not for two");
    let text = error.to_string();
    assert!(text.contains("checkpoint-00000001.safetensors") && text.contains("No space left"), "{text}");
    let names: Vec<_> = std::fs::read_dir(folder).expect("listed").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(names, ["checkpoint-00000000.safetensors"], "no half file is left");
    let kept = newest(folder).expect("reads").expect("a checkpoint");
    assert!(start.tensors.iter().all(|(name, tensor)| bits(tensor) == bits(&kept.tensors[name])));
}
