//! `spotter fetch` as typed.

use clap::Args;

/// Fetch a public model into the cache, whole and checked, and print its folder.
///
/// What breaks off goes on where it ended when the same command comes again. `spotter models` lists known names. The hub is
/// `HF_ENDPOINT` (Hugging Face's if not set), `HF_TOKEN` opens private and gated repositories, the cache is in
/// `SPOTTER_HOME`, or else where `XDG_CACHE_HOME` says (~/.cache/spotter).
///   spotter fetch llmdet-tiny
///   spotter run clip.mp4 --model llmdet-tiny --query "a red car" --out jsonl:-
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct FetchArgs {
    /// A known name, or any repository of the hub with a model of a family that runs here; with @, a branch, a tag or a
    /// commit.
    #[arg(value_name = "NAME|OWNER/REPO[@REVISION]")]
    pub model: String,
    /// Ask the hub whether it has a newer one than the cache.
    #[arg(long)]
    pub update: bool,
}
