//! Writes JSON directly to a row, without building values first: for many large rows, building them takes
//! most of the time.

use std::io::Write;

/// An object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

/// The beginning of a member, up to its value; made by [`key!`].
#[derive(Clone, Copy)]
pub(super) struct Key(&'static str);

impl Key {
    /// A comma, the name as a string, and a colon.
    pub(super) const fn new(written: &'static str) -> Self {
        Self(written)
    }
}

/// The [`Key`] of a member with this name, which must not need escapes. It is built at compile time, because
/// rows have many members.
macro_rules! key {
    ($name:literal) => {
        $crate::sink::json::Key::new(concat!(",\"", $name, "\":"))
    };
}
pub(super) use key;

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self {
            out,
            is_empty: true,
        }
    }

    /// A member whose value the caller appends.
    #[inline]
    pub(super) fn member(&mut self, Key(key): Key) -> &mut Vec<u8> {
        let key = if self.is_empty { &key[1..] } else { key };
        self.is_empty = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out
    }

    /// A member with this name, which must not need escapes; the caller appends its value.
    pub(super) fn named_member(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
        plain(self.out, name.as_bytes());
        self.out.push(b':');
        self.out
    }

    /// A string member with this text, which must not need escapes.
    #[inline]
    pub(super) fn plain(&mut self, key: Key, text: &[u8]) {
        plain(self.member(key), text);
    }

    /// A string member with the text that `write` appends.
    pub(super) fn text(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>)) {
        text(self.member(key), write);
    }

    pub(super) fn number(&mut self, key: Key, number: impl Into<u64>) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number.into());
        self.member(key).extend_from_slice(digits.as_bytes());
    }

    pub(super) fn null(&mut self, key: Key) {
        self.member(key).extend_from_slice(b"null");
    }

    /// A list member; `write` appends the value of each item.
    pub(super) fn list<T>(
        &mut self,
        key: Key,
        items: impl IntoIterator<Item = T>,
        write: impl FnMut(&mut Vec<u8>, T),
    ) {
        list(self.member(key), items, write);
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }
}

fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// Appends a string with this text, which must not need escapes.
pub(super) fn plain(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Appends a string with the text that `write` appends, which must be UTF-8.
pub(super) fn text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    let start = out.len();
    write(out);
    // Checks all bytes, without an early exit, so that the loop is vectorized.
    let any_needs_escape = |any, &byte: &u8| any | needs_escape(byte);
    if out[start..].iter().fold(false, any_needs_escape) {
        let text = out.split_off(start);
        text.iter().for_each(|&byte| write_escaped(out, byte));
    }
    out.push(b'"');
}

fn needs_escape(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

fn write_escaped(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        ..b' ' => {
            return write!(out, "\\u{byte:04x}").expect("memory can be written to");
        }
        _ => return out.push(byte),
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        #[test]
        fn texts_are_written_as_the_library_does(
            written in r#"(\PC|[\x00-\x20"\\\x7f-\xff]){0,40}"#,
            number: u64,
        ) {
            let mut out = Vec::new();
            let mut object = Object::begin(&mut out);
            object.text(key!("text"), |out| out.extend_from_slice(written.as_bytes()));
            object.number(key!("number"), number);
            object.null(key!("null"));
            object.list(key!("list"), [&written, "", &written], |out, item| {
                text(out, |out| out.extend_from_slice(item.as_bytes()));
            });
            object.list(key!("empty"), [""; 0], |_, _| {});
            object.end();
            let expected = json!({
                "text": written,
                "number": number,
                "null": null,
                "list": [written, "", written],
                "empty": [],
            });
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected.to_string());
        }
    }

    #[test]
    fn an_object_may_be_empty() {
        let mut out = Vec::new();
        Object::begin(&mut out).end();
        assert_eq!(out, b"{}");
    }
}
