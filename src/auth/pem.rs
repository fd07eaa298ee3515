//! The PEM text form of one key (RFC 7468), read strictly. It must never print what it reads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

pub(super) const PRIVATE_KEY: &str = "PRIVATE KEY";
pub(super) const PUBLIC_KEY: &str = "PUBLIC KEY";

const LINE_CHARS: usize = 64;

/// The DER bytes of a text that is one PEM block with this label and nothing else.
pub(super) fn decode(text: &str, label: &str) -> Option<Zeroizing<Vec<u8>>> {
    let body = text
        .trim()
        .strip_prefix(&format!("-----BEGIN {label}-----"))?
        .strip_suffix(&format!("-----END {label}-----"))?;
    // The full capacity is taken at once, so that no half-grown copy of a key is left behind in memory.
    let mut compact = Zeroizing::new(String::with_capacity(body.len()));
    compact.extend(body.chars().filter(|c| !matches!(c, '\r' | '\n')));
    let der = STANDARD.decode(compact.as_bytes()).ok()?;
    Some(Zeroizing::new(der))
}

pub(super) fn encode(der: &[u8], label: &str) -> Zeroizing<String> {
    let compact = Zeroizing::new(STANDARD.encode(der));
    let frame = format!("-----BEGIN {label}-----\n-----END {label}-----\n").len();
    let mut text = Zeroizing::new(String::with_capacity(frame + compact.len() + compact.len() / LINE_CHARS + 1));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for (position, c) in compact.chars().enumerate() {
        if position > 0 && position % LINE_CHARS == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for length in [1_usize, 47, 48, 49, 96, 300] {
            let der = vec![7_u8; length];
            let text = encode(&der, PUBLIC_KEY);
            assert!(text.lines().all(|line| line.len() <= LINE_CHARS));
            assert_eq!(*decode(&text, PUBLIC_KEY).unwrap(), der);
            let windows = text.replace('\n', "\r\n");
            assert_eq!(*decode(&windows, PUBLIC_KEY).unwrap(), der);
        }
    }

    #[test]
    fn another_label_or_a_second_block_is_refused() {
        let text = encode(&[1, 2, 3], PUBLIC_KEY);
        assert!(decode(&text, PRIVATE_KEY).is_none());
        let twice = format!("{}{}", *text, *text);
        assert!(decode(&twice, PUBLIC_KEY).is_none());
        let noted = format!("my key\n{}", *text);
        assert!(decode(&noted, PUBLIC_KEY).is_none());
        assert!(decode("-----BEGIN PUBLIC KEY-----", PUBLIC_KEY).is_none());
    }
}
