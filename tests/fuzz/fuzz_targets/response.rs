//! Responses: any bytes can be read, and what they mean does not depend on how they arrive.

#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use ringmill::jobs::http::{Framing, Head};

/// Status, body, and the bytes that follow; `None` if the response is not valid.
type Response = Option<(u16, Vec<u8>, usize)>;

/// Reads a response that arrives in parts of this length.
fn read(bytes: &[u8], method: &Method, part_len: usize) -> Response {
    let mut end = 0;
    let (head, len) = loop {
        match Head::parse(&bytes[..end], method, true).ok()? {
            Some(parsed) => break parsed,
            None if end == bytes.len() => return None,
            None => end = bytes.len().min(end + part_len),
        }
    };
    let (mut framing, mut body, mut at): (Framing, _, _) = (head.framing, Vec::new(), len);
    while !framing.is_ended() {
        end = end.max(bytes.len().min(at + part_len));
        if at == end {
            return framing
                .ends_with_connection()
                .then_some((head.status, body, 0));
        }
        let (count, data) = framing.read(&bytes[at..end]).ok()?;
        assert!(count > 0 && data.len() <= count);
        body.extend_from_slice(data);
        at += count;
    }
    Some((head.status, body, bytes.len() - at))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (number, bytes) = input;
    let method = [Method::GET, Method::HEAD][usize::from(number & 1)].clone();
    let whole = read(bytes, &method, bytes.len().max(1));
    assert_eq!(read(bytes, &method, 1 + usize::from(number >> 1)), whole);
});
