//! Opaque tokens: bytes with a version, a kind and a checksum, printed as hexadecimal digits.
//!
//! What opens is what was sealed; a token of another kind or version, or one that was tampered with, does not open.

/// Layout of all tokens; a change of any makes a new version.
const VERSION: u8 = 1;
/// Longest token worth reading, bytes before printing.
const BYTES_MAX: usize = 512;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Page,
    Quote,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Page => b'p',
            Self::Quote => b'q',
        }
    }
}

/// Prints a token.
pub(super) fn seal(kind: Kind, body: &[u8]) -> String {
    let mut bytes = vec![VERSION, kind.byte()];
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Reads what [`seal`] printed; `None` for anything else.
pub(super) fn open(kind: Kind, text: &str) -> Option<Vec<u8>> {
    if text.len() > 2 * BYTES_MAX || !text.len().is_multiple_of(2) {
        return None;
    }
    let digits = text.as_bytes().chunks_exact(2);
    let bytes: Vec<u8> = digits
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect::<Option<_>>()?;
    let (sealed, crc) = bytes.split_last_chunk::<4>()?;
    let body = sealed.strip_prefix(&[VERSION, kind.byte()])?;
    (crc32fast::hash(sealed) == u32::from_be_bytes(*crc)).then(|| body.to_vec())
}

/// Takes `N` bytes off the front.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// Only lower case is printed, so only lower case is read: one token, one text.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_as_it_was_sealed() {
        for body in [&b""[..], b"x", &[0, 255, 7]] {
            let token = seal(Kind::Page, body);
            assert_eq!(open(Kind::Page, &token).as_deref(), Some(body));
            assert_eq!(open(Kind::Quote, &token), None);
        }
    }

    #[test]
    fn any_changed_digit_is_noticed() {
        let token = seal(Kind::Quote, b"some body");
        for i in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[i] = if changed[i] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(open(Kind::Quote, &changed), None, "digit {i}");
        }
        for text in ["", "0", "zz", "010", "01700000", &"0".repeat(5_000)] {
            assert_eq!(open(Kind::Quote, text), None, "{text:?}");
        }
        assert_eq!(open(Kind::Quote, &token.to_uppercase()), None);
    }
}
