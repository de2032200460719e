//! Messages for people, on standard error.

use std::fmt;
use std::io::Write;

/// Says something about an item: `ringmill: NAME: message`.
pub fn about_item(name: &[u8], message: &dyn fmt::Display) {
    let mut line = b"ringmill: ".to_vec();
    write_name(&mut line, name);
    // Writing to memory cannot fail.
    let _ = writeln!(line, ": {message}");
    print(&line);
}

/// Says something about the run: `ringmill: message`.
pub fn about_run(message: &dyn fmt::Display) {
    print(format!("ringmill: {message}\n").as_bytes());
}

/// Prints lines as they are: a table.
pub fn text(lines: &str) {
    print(lines.as_bytes());
}

/// Gives a hint, apart from the message it belongs to.
pub fn hint(hint: &dyn fmt::Display) {
    print(format!("hint: {hint}\n").as_bytes());
}

/// One call a line, so that the lines of several processes do not mix. If standard error is gone,
/// there is nobody to tell.
fn print(line: &[u8]) {
    let _ = std::io::stderr().write_all(line);
}

/// Control characters are escaped, for they could do anything to a terminal; all other bytes stand
/// as they are.
fn write_name(line: &mut Vec<u8>, name: &[u8]) {
    for &byte in name {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            0..0x20 | 0x7f => line.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            _ => line.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut line = Vec::new();
        super::write_name(&mut line, b"a\n\x1b[2J\x7f\xff");
        assert_eq!(line, b"a\\n\\x1b[2J\\x7f\xff");
    }
}
