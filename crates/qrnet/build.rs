//! Compiles our CUDA kernels, where CUDA is wanted.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let kernel = "src/ops/cuda/window_attention.cu";
    println!("cargo::rerun-if-changed={kernel}");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    // As candle's own kernels are compiled.
    let compiler =
        std::env::var_os("CUDA_HOME").map_or_else(|| "nvcc".into(), |home| PathBuf::from(home).join("bin/nvcc"));
    let arch = std::env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "75".into());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where")).join("window_attention.ptx");
    let done = Command::new(&compiler)
        .args(["-ptx", "-O3", "-std=c++17", &format!("-arch=compute_{arch}"), kernel, "-o"])
        .arg(&out)
        .status();
    match done {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{} ended with {status} on {kernel}", compiler.display()),
        Err(error) => panic!("{}: {error}; CUDA_HOME names the toolkit", compiler.display()),
    }
}
