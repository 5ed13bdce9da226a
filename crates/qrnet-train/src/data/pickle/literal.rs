//! The lines of protocol 0: numbers and texts as Python source.

use super::Fault;

/// `I`: an integer in decimal.
pub(super) fn integer(line: &[u8]) -> Result<i128, Fault> {
    let text = ascii(line)?.trim();
    text.parse().map_err(|_| format!("`{}` is no integer of up to 16 bytes", super::shortened(text)))
}

/// `L`: an integer in decimal with an `L` behind it.
pub(super) fn long(line: &[u8]) -> Result<i128, Fault> {
    let line = line.trim_ascii();
    integer(line.strip_suffix(b"L").unwrap_or(line))
}

/// `F`: a float in decimal.
pub(super) fn float(line: &[u8]) -> Result<f64, Fault> {
    let text = ascii(line)?.trim();
    text.parse().map_err(|_| format!("`{}` is no float", super::shortened(text)))
}

/// `S`: a Python 2 string literal, quoted, with backslash escapes.
pub(super) fn string(line: &[u8]) -> Result<Vec<u8>, Fault> {
    let line = line.trim_ascii();
    let ([b'\'', body @ .., b'\''] | [b'"', body @ .., b'"']) = line else {
        return Err("a string literal without its quotes".into());
    };
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let [escape, tail @ ..] = rest else { return Err("a string literal that ends in a backslash".into()) };
        rest = tail;
        match escape {
            b'\\' | b'\'' | b'"' => out.push(*escape),
            b'a' => out.push(7),
            b'b' => out.push(8),
            b't' => out.push(b'\t'),
            b'n' => out.push(b'\n'),
            b'v' => out.push(11),
            b'f' => out.push(12),
            b'r' => out.push(b'\r'),
            b'x' => {
                let (value, tail) = digits(rest, 2, 16).ok_or("a string literal with a broken `\\x` escape")?;
                out.push(value as u8);
                rest = tail;
            }
            b'0'..=b'7' => {
                let length = rest.iter().take(2).take_while(|b| matches!(b, b'0'..=b'7')).count();
                let (value, tail) = digits(rest, length, 8).ok_or("a string literal with a broken octal escape")?;
                out.push(((u32::from(escape - b'0') << (3 * length as u32)) + value) as u8);
                rest = tail;
            }
            _ => out.extend([b'\\', *escape]),
        }
    }
    Ok(out)
}

/// `V`: a text as Latin-1 with `\u` and `\U` escapes.
pub(super) fn unicode(line: &[u8]) -> Result<String, Fault> {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    let mut high = None;
    while let [first, tail @ ..] = rest {
        let length = match tail.first() {
            Some(b'u') if *first == b'\\' => 4,
            Some(b'U') if *first == b'\\' => 8,
            _ => {
                out.push(char::from(*first));
                rest = tail;
                continue;
            }
        };
        let broken = "a text with a broken `\\u` escape";
        let (mut value, tail) = digits(&tail[1..], length, 16).ok_or(broken)?;
        rest = tail;
        // Python 2 may write a character beyond the basic plane as a pair of surrogates.
        if (0xd800..0xdc00).contains(&value) && rest.starts_with(b"\\u") {
            high = Some(value);
            continue;
        }
        if let Some(high) = high.take() {
            if !(0xdc00..0xe000).contains(&value) {
                return Err(broken.into());
            }
            value = 0x10000 + ((high - 0xd800) << 10) + (value - 0xdc00);
        }
        out.push(char::from_u32(value).ok_or(broken)?);
    }
    Ok(out)
}

/// The number that `length` digits at the start of `bytes` stand for, and what follows them.
fn digits(bytes: &[u8], length: usize, radix: u32) -> Option<(u32, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(length)?;
    let value =
        digits.iter().try_fold(0u32, |sum, b| sum.checked_mul(radix)?.checked_add(char::from(*b).to_digit(radix)?));
    Some((value?, rest))
}

fn ascii(line: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(line).map_err(|_| "a number that is no text".into())
}
