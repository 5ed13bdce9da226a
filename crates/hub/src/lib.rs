//! Public models: a table of known ones, and a client that brings them, or any other, from a hub of Hugging Face's kind into
//! a cache on this machine. A model stands in the cache whole and checked, or not at all.
//!
//! ```no_run
//! # fn main() -> hub::Result<()> {
//! # struct Any;
//! # impl hub::Accept for Any {
//! #     fn config(&self, _: &str) -> Result<(), String> { Ok(()) }
//! #     fn directory(&self, _: &std::path::Path) -> Result<(), String> { Ok(()) }
//! #     fn carry(&self, _: &std::path::Path, _: &std::path::Path) -> Result<(), String> { Ok(()) }
//! # }
//! # let trust = rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
//! let hub = hub::Hub::new(hub::Settings::from_env()?, trust)?;
//! let wanted = hub::Wanted::of("llmdet-tiny")?;
//! let fetched = hub.fetch(&wanted, false, &Any, &mut |_| {})?;
//! println!("{}", fetched.path.display());
//! # Ok(())
//! # }
//! ```

mod answer;
mod cache;
mod client;
mod download;
mod error;
mod fetch;
mod layout;
mod manifest;
mod part;
mod retries;
mod settings;
mod table;
mod wanted;

pub use cache::{Cache, Found, Held, Listed};
pub use client::Patience;
pub use error::{Error, Result};
pub use fetch::{Accept, Event, Fetched, Hub};
pub use manifest::{Checked, FileEntry, Manifest};
pub use settings::Settings;
pub use table::{Known, known};
pub use wanted::{Repository, Wanted};

/// Bytes for people: in the unit in which there are one to three digits before the point.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} bytes");
    }
    let mut value = count as f64 / 1e3;
    let mut unit = 0;
    // What would be shown as 1000 is one of the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    if value < 9.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_for_people() {
        let told = [0, 999, 1000, 9_960, 689_000_000, 999_499_999, 999_500_000, 1_360_000_000].map(super::bytes);
        assert_eq!(told, ["0 bytes", "999 bytes", "1.0 kB", "10 kB", "689 MB", "999 MB", "1.0 GB", "1.4 GB"]);
    }
}
