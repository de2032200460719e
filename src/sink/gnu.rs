//! The line formats of the GNU sum tools.

use crate::digest::{Algorithm, Digest};

/// How a line is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// `SHA256 (name) = HEX` instead of `HEX  name`.
    pub tag: bool,
    /// Lines end with NUL, and names are not escaped.
    pub zero: bool,
}

/// Appends one line.
///
/// As in coreutils, backslashes, newlines and carriage returns in a name are escaped, and the line then
/// begins with a backslash. All other bytes are written unchanged.
pub fn write_line(
    out: &mut Vec<u8>,
    layout: Layout,
    algorithm: Algorithm,
    digest: &Digest,
    name: &[u8],
) {
    let escaped = !layout.zero && needs_escape(name);
    if escaped {
        out.push(b'\\');
    }
    if layout.tag {
        out.extend_from_slice(algorithm.tag().as_bytes());
        out.extend_from_slice(b" (");
    } else {
        digest.write_hex(out);
        out.extend_from_slice(b"  ");
    }
    if escaped {
        write_escaped(out, name);
    } else {
        out.extend_from_slice(name);
    }
    if layout.tag {
        out.extend_from_slice(b") = ");
        digest.write_hex(out);
    }
    out.push(if layout.zero { 0 } else { b'\n' });
}

fn needs_escape(name: &[u8]) -> bool {
    memchr::memchr3(b'\\', b'\n', b'\r', name).is_some()
}

fn write_escaped(out: &mut Vec<u8>, name: &[u8]) {
    for &byte in name {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(layout: Layout, name: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let digest = Algorithm::Crc32c.digest(b"123456789");
        write_line(&mut out, layout, Algorithm::Crc32c, &digest, name);
        out
    }

    #[test]
    fn the_four_layouts() {
        let name = b"a\\b\nc\r\xff";
        let plain = Layout::default();
        let tag = Layout {
            tag: true,
            zero: false,
        };
        assert_eq!(line(plain, b"f"), b"e3069283  f\n");
        assert_eq!(line(plain, name), b"\\e3069283  a\\\\b\\nc\\r\xff\n");
        assert_eq!(line(tag, b"f"), b"CRC32C (f) = e3069283\n");
        assert_eq!(
            line(tag, name),
            b"\\CRC32C (a\\\\b\\nc\\r\xff) = e3069283\n"
        );
        assert_eq!(
            line(
                Layout {
                    zero: true,
                    ..plain
                },
                name
            ),
            b"e3069283  a\\b\nc\r\xff\0"
        );
        assert_eq!(
            line(Layout { zero: true, ..tag }, b"f"),
            b"CRC32C (f) = e3069283\0"
        );
    }

    proptest! {
        /// Escaping can be undone, and a line has exactly one newline, at its end.
        #[test]
        fn escaping_is_reversible(name in proptest::collection::vec(
            prop_oneof![Just(b'\\'), Just(b'\n'), Just(b'\r'), Just(b'n'), any::<u8>()], 0..60,
        )) {
            let line = line(Layout::default(), &name);
            prop_assert_eq!(memchr::memchr_iter(b'\n', &line).collect::<Vec<_>>(), [line.len() - 1]);
            let (escaped, text) = match line.strip_prefix(b"\\") {
                Some(rest) => (true, rest),
                None => (false, &line[..]),
            };
            let text = &text[b"e3069283  ".len()..text.len() - 1];
            let mut unescaped = Vec::new();
            let mut bytes = text.iter();
            while let Some(&byte) = bytes.next() {
                unescaped.push(match byte {
                    b'\\' if escaped => match bytes.next() {
                        Some(b'n') => b'\n',
                        Some(b'r') => b'\r',
                        Some(b'\\') => b'\\',
                        other => panic!("unknown escape {other:?}"),
                    },
                    byte => byte,
                });
            }
            prop_assert_eq!(unescaped, name);
        }
    }
}
