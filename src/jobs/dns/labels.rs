//! Names as text (RFC 1035, section 5.1).

use domain::base::name::Label;
use std::io::Write;

pub(super) fn write_labels<'a>(out: &mut Vec<u8>, labels: impl Iterator<Item = &'a Label>) {
    for (at, label) in labels.enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        // No early exit: all bytes are checked, so that many are checked at one time.
        let are_plain = |all, &byte: &u8| all & is_plain(byte);
        if label.as_slice().iter().fold(true, are_plain) {
            out.extend_from_slice(label.as_slice());
        } else {
            write!(out, "{label}").expect("memory can be written to");
        }
    }
}

/// True for bytes that are not escaped in a label.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'.' | b'\\')
}
