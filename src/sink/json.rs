//! JSON as it is appended to a row, without values in between: of rows that are many and large, making
//! those takes most of the time.

use std::io::Write;

/// An object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self {
            out,
            is_empty: true,
        }
    }

    /// A member whose value the caller appends. Its name must need no escapes.
    pub(super) fn member(&mut self, name: &'static str) -> &mut Vec<u8> {
        let start = if self.is_empty { "\"" } else { ",\"" };
        self.is_empty = false;
        self.out.extend_from_slice(start.as_bytes());
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A member that is the text which `write` appends.
    pub(super) fn text(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        text(self.member(name), write);
    }

    pub(super) fn number(&mut self, name: &'static str, number: impl Into<u64>) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number.into());
        self.member(name).extend_from_slice(digits.as_bytes());
    }

    pub(super) fn null(&mut self, name: &'static str) {
        self.member(name).extend_from_slice(b"null");
    }

    /// A member that is a list with what `write` appends for each of these.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        items: impl IntoIterator<Item = T>,
        write: impl FnMut(&mut Vec<u8>, T),
    ) {
        list(self.member(name), items, write);
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

/// Appends the text that `write` appends, as a string. It must be UTF-8.
pub(super) fn text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    let start = out.len();
    write(out);
    if out[start..].iter().any(|&byte| needs_escape(byte)) {
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
            object.text("text", |out| out.extend_from_slice(written.as_bytes()));
            object.number("number", number);
            object.null("null");
            object.list("list", [&written, "", &written], |out, item| {
                text(out, |out| out.extend_from_slice(item.as_bytes()));
            });
            object.list("empty", [""; 0], |_, _| {});
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
