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
    let compiler = compiler();
    let arch = std::env::var("CUDA_COMPUTE_CAP").ok().or_else(of_gpu).unwrap_or_else(|| "75".into());
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

/// The toolkit's compiler, looked for where candle looks for its own kernels: NVCC, the search path, the usual variables
/// and the usual folder.
fn compiler() -> PathBuf {
    if let Some(named) = std::env::var_os("NVCC") {
        return named.into();
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&paths).map(|folder| folder.join("nvcc")).collect();
    let homes =
        ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "CUDA_TOOLKIT_ROOT_DIR"].into_iter().filter_map(std::env::var_os);
    let in_homes = homes.map(PathBuf::from).chain(["/usr/local/cuda".into()]).map(|home| home.join("bin/nvcc"));
    on_path.into_iter().chain(in_homes).find(|file| file.is_file()).unwrap_or_else(|| "nvcc".into())
}

/// What this machine's GPU can do, as `90`.
fn of_gpu() -> Option<String> {
    let output = Command::new("nvidia-smi").args(["--query-gpu=compute_cap", "--format=csv,noheader"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let first = text.lines().next()?.trim().replace('.', "");
    (!first.is_empty() && first.chars().all(|c| c.is_ascii_digit())).then_some(first)
}
