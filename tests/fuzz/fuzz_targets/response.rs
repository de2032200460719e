//! Responses: any bytes can be read, and what they mean does not depend on how they arrive.

#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use ringmill::jobs::http::{Framing, HeadReader};

/// Status, body, and the bytes that follow; `None` if the response is not valid.
type Response = Option<(u16, Vec<u8>, usize)>;

/// Reads a response that arrives in parts of this length.
fn read(bytes: &[u8], method: &Method, part_len: usize) -> Response {
    let mut reader = HeadReader::new(method, true);
    let mut begun: Option<(u16, Framing)> = None;
    let (mut body, mut at) = (Vec::new(), 0);
    for part in bytes.chunks(part_len) {
        let end = at + part.len();
        while at < end {
            let count = match &mut begun {
                Some((status, framing)) if framing.is_ended() => {
                    return Some((*status, body, bytes.len() - at));
                }
                Some((_, framing)) => {
                    let (count, data) = framing.read(&bytes[at..end]).ok()?;
                    assert!(data.len() <= count);
                    body.extend_from_slice(data);
                    count
                }
                None => {
                    let (count, head) = reader.read(&bytes[at..end]).ok()?;
                    begun = head.map(|head| (head.status, head.framing));
                    count
                }
            };
            assert!(count > 0);
            at += count;
        }
    }
    let (status, framing) = begun?;
    let is_whole = framing.is_ended() || framing.ends_with_connection();
    is_whole.then_some((status, body, 0))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (number, bytes) = input;
    let method = [Method::GET, Method::HEAD][usize::from(number & 1)].clone();
    let whole = read(bytes, &method, bytes.len().max(1));
    assert_eq!(read(bytes, &method, 1 + usize::from(number >> 1)), whole);
});
