//! Messages on standard error.
//!
//! Names come from lists that are not trusted, so characters that control a terminal are escaped. They are
//! escaped in log files, too: a log may be shown on a terminal later. Rows on standard output, which programs
//! read, have names unchanged.

use crate::escape::write_escaped;
use std::fmt;
use std::io::Write;

/// Prints a message about an item: `ringmill: NAME: message`.
pub fn about_item(name: &[u8], message: &dyn fmt::Display) {
    let mut line = b"ringmill: ".to_vec();
    write_escaped(&mut line, name);
    line.extend_from_slice(b": ");
    end(line, message);
}

/// Prints a message about the run: `ringmill: message`.
pub fn about_run(message: &dyn fmt::Display) {
    end(b"ringmill: ".to_vec(), message);
}

/// Prints lines unchanged, such as a table.
pub fn text(lines: &str) {
    print(lines.as_bytes());
}

/// Prints a hint on a line of its own, after the message it belongs to.
pub fn hint(hint: &dyn fmt::Display) {
    end(b"hint: ".to_vec(), hint);
}

/// Completes the line with this message and prints it. The message is escaped: it may contain a file name.
fn end(mut line: Vec<u8>, message: &dyn fmt::Display) {
    write_escaped(&mut line, message.to_string().as_bytes());
    line.push(b'\n');
    print(&line);
}

/// Writes each line in one call, so that lines of several processes do not mix. Failures to write to
/// standard error cannot be reported.
fn print(line: &[u8]) {
    let _ = std::io::stderr().write_all(line);
}
