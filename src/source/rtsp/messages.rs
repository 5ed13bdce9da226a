//! RTSP on the wire (RFC 2326): requests and answers, frames between them, and what some cameras let slip in.

/// What stands at the beginning of bytes that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// More must come first.
    Incomplete,
    /// A frame of RTP or RTCP in the connection (RFC 2326, section 10.12), so many bytes with its header.
    Data(usize),
    /// A request or an answer, so many bytes with its body.
    Message(Message, usize),
    /// So many bytes that are neither.
    Stray(usize),
}

/// A request or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// The first line.
    pub(super) start: String,
    /// Names and values, in order.
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// No head is longer.
const LONGEST_HEAD: usize = 64 * 1024;
/// Nor is a body: descriptions take some kilobytes.
const LONGEST_BODY: usize = 1024 * 1024;
/// What the first line of every message says.
const PROTOCOL: &str = "RTSP/";

/// Reads what stands at the beginning of `bytes`.
pub(super) fn next(bytes: &[u8]) -> Piece {
    let Some(&first) = bytes.first() else { return Piece::Incomplete };
    if first == b'$' {
        let [_, _, high, low, ..] = bytes else { return Piece::Incomplete };
        let whole = 4 + usize::from(u16::from_be_bytes([*high, *low]));
        return if bytes.len() < whole { Piece::Incomplete } else { Piece::Data(whole) };
    }
    if !first.is_ascii_uppercase() {
        let begins = |byte: &u8| *byte == b'$' || byte.is_ascii_uppercase();
        return Piece::Stray(bytes.iter().position(begins).unwrap_or(bytes.len()));
    }
    let Some((head, body)) = head_end(bytes) else {
        return if bytes.len() > LONGEST_HEAD { Piece::Stray(1) } else { Piece::Incomplete };
    };
    let text = String::from_utf8_lossy(&bytes[..head]);
    let mut lines = text.lines();
    let start = lines.next().unwrap_or_default().trim_end().to_owned();
    if !start.contains(PROTOCOL) {
        return Piece::Stray(body);
    }
    let header =
        |line: &str| line.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    let mut message = Message { start, headers: lines.filter_map(header).collect(), body: Vec::new() };
    let length = message.header("Content-Length").and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    let end = body + length.min(LONGEST_BODY);
    if bytes.len() < end {
        return Piece::Incomplete;
    }
    message.body = bytes[body..end].to_vec();
    Piece::Message(message, end)
}

/// Where a head ends, and where what follows begins.
fn head_end(bytes: &[u8]) -> Option<(usize, usize)> {
    let at = |end: &[u8]| bytes.windows(end.len()).position(|window| window == end).map(|at| (at, at + end.len()));
    // Both are looked for: some end their lines with a line feed alone.
    [at(b"\r\n\r\n"), at(b"\n\n")].into_iter().flatten().min()
}

impl Message {
    /// A request without headers.
    pub(super) fn request(method: &str, address: &str) -> Self {
        Self { start: format!("{method} {address} RTSP/1.0"), headers: Vec::new(), body: Vec::new() }
    }

    /// The first value of a header; names are the same in capital letters.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value of a header.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Gives a header one value, in place of what it had.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.headers.iter().position(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some(at) => self.headers[at].1 = value,
            None => self.headers.push((name.to_owned(), value)),
        }
    }

    /// The status of an answer; none for requests.
    pub(super) fn status(&self) -> Option<u16> {
        self.start.starts_with(PROTOCOL).then(|| self.start.split_ascii_whitespace().nth(1)?.parse().ok())?
    }

    /// Method and address of a request.
    pub(super) fn asks(&self) -> Option<(&str, &str)> {
        let mut words = self.start.split_ascii_whitespace();
        words.next().zip(words.next()).filter(|_| !self.start.starts_with(PROTOCOL))
    }

    /// The number that an answer has in common with its request.
    pub(super) fn number(&self) -> Option<u64> {
        self.header("CSeq")?.parse().ok()
    }

    /// The first line and the values of all headers, changed by `change`, and the body where it is text.
    pub(super) fn map(&mut self, change: impl Fn(&str) -> String) {
        self.start = change(&self.start);
        self.headers.iter_mut().for_each(|(_, value)| *value = change(value));
        if let Ok(body) = std::str::from_utf8(&self.body) {
            self.body = change(body).into_bytes();
        }
    }

    /// As it goes over the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("Content-Length")) {
            text.extend([name.as_str(), ": ", value, "\r\n"]);
        }
        if !self.body.is_empty() || self.header("Content-Length").is_some() {
            text.extend(["Content-Length: ", &self.body.len().to_string(), "\r\n"]);
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_messages_and_strays_are_told_apart() {
        assert_eq!(next(b""), Piece::Incomplete);
        assert_eq!(next(b"$\x00\x00"), Piece::Incomplete);
        assert_eq!(next(b"$\x00\x00\x02ab$"), Piece::Data(6));
        assert_eq!(next(b"\r\n$\x00\x00\x00"), Piece::Stray(2));
        assert_eq!(next(b"HTTP/1.1 200 OK\r\n\r\nhi"), Piece::Stray(19));
        assert_eq!(next(b"RTSP/1.0 200 OK\r\nCSeq: 3\r\ncontent-length: 2\r\n\r\nh"), Piece::Incomplete);
        let Piece::Message(message, 49) = next(b"RTSP/1.0 200 OK\r\ncseq: 3\r\ncontent-length: 2\r\n\r\nhi$$") else {
            panic!("{:?}", next(b"RTSP/1.0 200 OK\r\ncseq: 3\r\ncontent-length: 2\r\n\r\nhi$$"))
        };
        assert_eq!((message.status(), message.number(), message.asks()), (Some(200), Some(3), None));
        assert_eq!(message.body, b"hi");
        assert_eq!(message.bytes(), b"RTSP/1.0 200 OK\r\ncseq: 3\r\nContent-Length: 2\r\n\r\nhi");
        let line_feeds = b"RTSP/1.0 461 Unsupported Transport\nCSeq: 4\n\nRTSP";
        assert!(matches!(next(line_feeds), Piece::Message(message, 44) if message.status() == Some(461)));
    }

    #[test]
    fn requests_keep_their_headers() {
        let mut request = Message::request("PLAY", "rtsp://here/there");
        request.set("CSeq", "7");
        request.set("Session", "a b");
        request.set("cseq", "8");
        assert_eq!(request.asks(), Some(("PLAY", "rtsp://here/there")));
        assert_eq!(request.status(), None);
        let bytes = request.bytes();
        assert_eq!(bytes, b"PLAY rtsp://here/there RTSP/1.0\r\nCSeq: 8\r\nSession: a b\r\n\r\n");
        assert_eq!(next(&bytes), Piece::Message(request, bytes.len()));
    }
}
