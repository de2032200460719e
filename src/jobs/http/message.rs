//! Requests as bytes (RFC 9112).

use super::request::Request;
use http::Method;
use http::header::{self, HeaderName};

/// The User-Agent of requests that name no other.
const USER_AGENT: &str = concat!("ringmill/", env!("CARGO_PKG_VERSION"));

/// The encodings that are decoded.
const ENCODINGS: &str = "gzip, br, zstd";

/// The room for a head of usual length.
const HEAD_LEN: usize = 256;

/// The bytes of a request. They are valid, because the parts of `Request` are.
pub(super) fn encode(request: &Request) -> Vec<u8> {
    let (url, headers) = (&request.url, &request.headers);
    let mut bytes = Vec::with_capacity(HEAD_LEN + request.body.len());
    for part in [request.method.as_str(), " ", url.path()] {
        bytes.extend_from_slice(part.as_bytes());
    }
    if let Some(query) = url.query() {
        bytes.push(b'?');
        bytes.extend_from_slice(query.as_bytes());
    }
    bytes.extend_from_slice(b" HTTP/1.1\r\n");
    if !headers.contains_key(header::HOST) {
        bytes.extend_from_slice(b"host: ");
        bytes.extend_from_slice(url.host_str().unwrap_or_default().as_bytes());
        if let Some(port) = url.port() {
            bytes.push(b':');
            bytes.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
    }
    for (name, value) in headers {
        append(&mut bytes, name, value.as_bytes());
    }
    for (name, value) in [
        (header::USER_AGENT, USER_AGENT),
        (header::ACCEPT, "*/*"),
        (header::ACCEPT_ENCODING, ENCODINGS),
    ] {
        if !headers.contains_key(&name) {
            append(&mut bytes, &name, value.as_bytes());
        }
    }
    // RFC 9110, section 8.6.
    let expects_body = [Method::POST, Method::PUT, Method::PATCH].contains(&request.method);
    if expects_body || !request.body.is_empty() {
        let len = itoa::Buffer::new().format(request.body.len()).to_owned();
        append(&mut bytes, &header::CONTENT_LENGTH, len.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&request.body);
    bytes
}

fn append(bytes: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    bytes.extend_from_slice(name.as_str().as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::http::request::Template;
    use crate::jobs::http::url_reader::UrlReader;
    use proptest::prelude::*;

    fn encoded(line: &str) -> String {
        let line = Template::default()
            .read(&mut UrlReader::default(), line.as_bytes())
            .unwrap();
        String::from_utf8(encode(&line.request)).unwrap()
    }

    #[test]
    fn requests() {
        let agent = format!("user-agent: {USER_AGENT}\r\n");
        let rest = format!("{agent}accept: */*\r\naccept-encoding: {ENCODINGS}\r\n");
        for (line, expected) in [
            (
                "http://a.example",
                format!("GET / HTTP/1.1\r\nhost: a.example\r\n{rest}\r\n"),
            ),
            (
                "https://[::1]:8443/a b?q=ä#x",
                format!("GET /a%20b?q=%C3%A4 HTTP/1.1\r\nhost: [::1]:8443\r\n{rest}\r\n"),
            ),
            (
                r#"{"url": "http://a.example/x", "body": "text", "headers": {"Host": "b", "X-Y": ["1", "2"]}}"#,
                format!(
                    "POST /x HTTP/1.1\r\nhost: b\r\nx-y: 1\r\nx-y: 2\r\n{rest}content-length: 4\r\n\r\ntext"
                ),
            ),
            (
                r#"{"url": "http://a", "method": "PUT", "headers": {"accept": "a", "accept-encoding": ""}}"#,
                format!(
                    "PUT / HTTP/1.1\r\nhost: a\r\naccept: a\r\naccept-encoding: \r\n{agent}content-length: 0\r\n\r\n"
                ),
            ),
            (
                r#"{"url": "http://a", "method": "DELETE"}"#,
                format!("DELETE / HTTP/1.1\r\nhost: a\r\n{rest}\r\n"),
            ),
        ] {
            assert_eq!(encoded(line), expected, "{line}");
        }
    }

    proptest! {
        /// Whatever the URL, a server reads one request.
        #[test]
        fn any_url_is_one_request(path in "(\\PC|[ \t\r\n%/?#]){0,30}") {
            let Ok(line) = Template::default().read(&mut UrlReader::default(), format!("http://a.example/{path}").as_bytes()) else {
                return Ok(());
            };
            let bytes = encode(&line.request);
            let mut headers = [httparse::EMPTY_HEADER; 8];
            let mut parsed = httparse::Request::new(&mut headers);
            prop_assert_eq!(parsed.parse(&bytes), Ok(httparse::Status::Complete(bytes.len())));
            let target = &line.request.url[url::Position::BeforePath..];
            prop_assert_eq!(parsed.path, Some(target));
            prop_assert_eq!(parsed.headers.len(), 4);
        }
    }
}
