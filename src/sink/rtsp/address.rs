//! Where a stream is served: `rtsp://HOST:PORT/NAME`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::secrets::{self, Login};

/// One `--out rtsp://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtspOut {
    /// True for `rtsps://`.
    pub tls: bool,
    /// Where to listen. Port 0 takes any that is free.
    pub place: SocketAddr,
    /// Begins with `/`.
    pub path: String,
    /// Who may watch, where the address says so.
    pub login: Option<Login>,
}

impl FromStr for RtspOut {
    type Err = String;

    /// Without a host, this machine alone may watch.
    fn from_str(text: &str) -> Result<Self, String> {
        let (login, address) = match secrets::split_login(text) {
            Some((login, address)) => (Some(Login::of_address(login)), address),
            None => (None, text.to_owned()),
        };
        let (scheme, rest) = address.split_once("://").ok_or("is no address, expected rtsp://HOST:PORT/NAME")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "rtsp" => false,
            "rtsps" => true,
            other => return Err(format!("{other} is no scheme to serve, expected rtsp or rtsps")),
        };
        let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
        if login.as_ref().is_some_and(|login| !login.is_whole()) {
            return Err("its name or its password is empty, expected both or neither before the @".into());
        }
        let name = name.trim_end_matches('/');
        if name.is_empty() || name.starts_with('/') {
            return Err("has no name after the port, expected rtsp://HOST:PORT/NAME".into());
        }
        let usual = |c: char| c.is_ascii_alphanumeric() || "-_.~/+@:=,".contains(c);
        if let Some(odd) = name.chars().find(|c| !usual(*c)) {
            return Err(format!("its name holds {odd:?}, expected letters from a to z, digits, and - _ . ~ /"));
        }
        let place = place(authority, if tls { 322 } else { 554 })?;
        Ok(Self { tls, place, path: format!("/{name}"), login })
    }
}

impl RtspOut {
    /// Whether other machines can come here.
    pub fn is_public(&self) -> bool {
        !self.place.ip().is_loopback()
    }
}

impl std::fmt::Display for RtspOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rtsp{}://{}{}", if self.tls { "s" } else { "" }, self.place, self.path)
    }
}

fn place(authority: &str, usual: u16) -> Result<SocketAddr, String> {
    let (host, port) = match authority.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']')) {
        Some((host, port)) => {
            let number = port.parse::<u16>();
            (host, number.map_err(|_| format!("its port is {port:?}, expected a number up to 65535"))?)
        }
        None => (authority, usual),
    };
    let bare = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or_else(|| format!("host {host}: its bracket is not closed"))?,
        None => host,
    };
    if bare.is_empty() {
        return Ok((IpAddr::V4(Ipv4Addr::LOCALHOST), port).into());
    }
    let mut found = (bare, port).to_socket_addrs().map_err(|e| format!("host {bare}: {e}"))?;
    found.next().ok_or_else(|| format!("host {bare}: has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let read = |text: &str| text.parse::<RtspOut>().map(|out| (out.to_string(), out.is_public()));
        assert_eq!(read("rtsp://127.0.0.1:8554/found"), Ok(("rtsp://127.0.0.1:8554/found".into(), false)));
        assert_eq!(read("rtsp://:8554/a/b/"), Ok(("rtsp://127.0.0.1:8554/a/b".into(), false)));
        assert_eq!(read("rtsp://0.0.0.0/x"), Ok(("rtsp://0.0.0.0:554/x".into(), true)));
        assert_eq!(read("rtsps://[::1]/x"), Ok(("rtsps://[::1]:322/x".into(), false)));
        assert_eq!(read("rtsp://[::]:1/x"), Ok(("rtsp://[::]:1/x".into(), true)));
        assert_eq!(read("RTSP://:1/x"), Ok(("rtsp://127.0.0.1:1/x".into(), false)));
        let with_login = "rtsp://viewer:s%20cret@127.0.0.1:1/x".parse::<RtspOut>().expect("valid");
        assert_eq!(with_login.login, Some(Login::new("viewer", "s cret")));
        assert_eq!(with_login.to_string(), "rtsp://127.0.0.1:1/x", "nobody sees it");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let message = |text: &str| text.parse::<RtspOut>().expect_err("wrong");
        assert!(message("rtsp://127.0.0.1:8554").contains("has no name after the port"));
        assert!(message("rtsp://127.0.0.1:8554//").contains("has no name after the port"));
        assert!(message("rtsp://127.0.0.1:99999/x").contains("its port is \"99999\""));
        assert!(message("rtsp://127.0.0.1:1/a?b").contains("its name holds '?'"));
        assert!(message("rtsp://127.0.0.1:1/é").contains("its name holds 'é'"));
        assert!(message("rtsp://[::1/a").contains("its bracket is not closed"));
        assert!(message("rtsp://:@0.0.0.0:1/a").contains("its name or its password is empty"));
        assert!(message("rtsp://viewer@0.0.0.0:1/a").contains("its name or its password is empty"));
        assert!(message("http://127.0.0.1:1/a").contains("http is no scheme to serve"));
        assert!(message("rtsp://no.such.host.invalid:1/a").contains("host no.such.host.invalid"));
    }
}
