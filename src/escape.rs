//! Escapes in text for a terminal, so that the terminal does not interpret control characters in it.

/// Appends text, with escapes for characters that control a terminal. Bytes that are not UTF-8 stay as they
/// are, except those that are control characters on a terminal with 8-bit characters.
pub fn write_escaped(line: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => line.extend_from_slice(b"\\n"),
                '\r' => line.extend_from_slice(b"\\r"),
                '\0'..' ' | '\x7f' => {
                    line.extend_from_slice(format!("\\x{:02x}", u32::from(c)).as_bytes());
                }
                c if is_obeyed(c) => {
                    line.extend_from_slice(format!("\\u{{{:x}}}", u32::from(c)).as_bytes());
                }
                c => line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for &byte in chunk.invalid() {
            match byte {
                0x80..0xa0 => line.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
                _ => line.push(byte),
            }
        }
    }
}

/// True for characters that a terminal does not show but interprets: control characters, and those that
/// change the direction of text or end a line.
pub(crate) fn is_obeyed(c: char) -> bool {
    let is_direction = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || is_direction || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    fn escaped(text: &[u8]) -> Vec<u8> {
        let mut line = Vec::new();
        super::write_escaped(&mut line, text);
        line
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(
            escaped(b"a\n\r\x1b[2J\x7f\xff"),
            b"a\\n\\r\\x1b[2J\\x7f\xff"
        );
        // Control Sequence Introducer, in UTF-8 and as the one byte of Latin-1.
        assert_eq!(escaped("a\u{9b}2J".as_bytes()), b"a\\u{9b}2J");
        assert_eq!(escaped(b"a\x9b2J\xa0"), b"a\\x9b2J\xa0");
    }

    #[test]
    fn text_keeps_its_direction() {
        for mark in [
            0x61c, 0x200e, 0x200f, 0x202a, 0x202e, 0x2066, 0x2069, 0x2028,
        ] {
            let text = format!("a{}b", char::from_u32(mark).unwrap());
            let expected = format!("a\\u{{{mark:x}}}b");
            assert_eq!(escaped(text.as_bytes()), expected.as_bytes());
        }
        let plain = "שלום µ 漢 ‐ é\u{301}";
        assert_eq!(escaped(plain.as_bytes()), plain.as_bytes());
    }
}
