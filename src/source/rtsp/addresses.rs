//! Addresses of a camera as `rtspsrc` is to see them: behind the proxy, every one that stands in a message, and back.

/// Schemes that addresses of a camera have.
const SCHEMES: [&str; 2] = ["rtsp", "rtsps"];

/// Both ways between addresses of a camera and those behind the proxy: `rtsp://camera/live` becomes
/// `rtsp://127.0.0.1:PORT/SECRET/rtsp/camera/live`.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    /// The proxy's own address, with the secret that other users of this machine do not know, and a slash.
    base: String,
}

impl Addresses {
    pub(super) fn of(port: u16, secret: &str) -> Self {
        Self { base: format!("rtsp://127.0.0.1:{port}/{secret}/") }
    }

    /// Whether `text` holds an address behind the proxy.
    pub(super) fn is_ours(&self, text: &str) -> bool {
        text.contains(&self.base)
    }

    /// Every address of a camera in `text` as one behind the proxy.
    pub(super) fn inward(&self, text: &str) -> String {
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(at) = rest.find("://") {
            let scheme = SCHEMES.into_iter().rev().find(|scheme| rest[..at].ends_with(scheme));
            let before = &rest[..at - scheme.map_or(0, str::len)];
            out.push_str(before);
            match scheme {
                Some(scheme) => out.extend([&self.base, scheme, "/"]),
                None => out.push_str("://"),
            }
            rest = &rest[at + "://".len()..];
        }
        out.push_str(rest);
        out
    }

    /// Every address behind the proxy in `text` as the camera's own.
    pub(super) fn outward(&self, text: &str) -> String {
        SCHEMES.into_iter().fold(text.to_owned(), |text, scheme| {
            text.replace(&format!("{}{scheme}/", self.base), &format!("{scheme}://"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_again() {
        let addresses = Addresses::of(8554, "abc");
        let there = addresses.inward("url=rtsp://cam:554/a?x=1;seq=1,url=rtsps://[::1]/b http://c/");
        let base = "rtsp://127.0.0.1:8554/abc/";
        assert_eq!(there, format!("url={base}rtsp/cam:554/a?x=1;seq=1,url={base}rtsps/[::1]/b http://c/"));
        assert!(addresses.is_ours(&there) && !addresses.is_ours("rtsp://127.0.0.1:8554/other/rtsp/cam"));
        assert_eq!(addresses.outward(&there), "url=rtsp://cam:554/a?x=1;seq=1,url=rtsps://[::1]/b http://c/");
        assert_eq!(addresses.outward("DESCRIBE rtsp://cam/ RTSP/1.0"), "DESCRIBE rtsp://cam/ RTSP/1.0");
    }
}
