//! Messages for people, on standard error.
//!
//! Names come from lists that anybody may have written, and are escaped where they hold what a terminal
//! obeys. That is so wherever standard error goes: whoever opens a log a week later has a terminal, too.
//! Programs take names from the rows on standard output, where they stand as they are.

use crate::escape::write_escaped;
use std::fmt;
use std::io::Write;

/// Says something about an item: `ringmill: NAME: message`.
pub fn about_item(name: &[u8], message: &dyn fmt::Display) {
    let mut line = b"ringmill: ".to_vec();
    write_escaped(&mut line, name);
    line.extend_from_slice(b": ");
    end(line, message);
}

/// Says something about the run: `ringmill: message`.
pub fn about_run(message: &dyn fmt::Display) {
    end(b"ringmill: ".to_vec(), message);
}

/// Prints lines as they are: a table.
pub fn text(lines: &str) {
    print(lines.as_bytes());
}

/// Gives a hint, apart from the message it belongs to.
pub fn hint(hint: &dyn fmt::Display) {
    end(b"hint: ".to_vec(), hint);
}

/// Prints the line with this message, which may name a file.
fn end(mut line: Vec<u8>, message: &dyn fmt::Display) {
    write_escaped(&mut line, message.to_string().as_bytes());
    line.push(b'\n');
    print(&line);
}

/// One call a line, so that the lines of several processes do not mix. If standard error is gone,
/// there is nobody to tell.
fn print(line: &[u8]) {
    let _ = std::io::stderr().write_all(line);
}
