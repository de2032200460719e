//! Heads of responses (RFC 9112).

use super::body::Encoding;
use super::framing::Framing;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use std::mem::MaybeUninit;

/// The most bytes of a head.
const HEAD_LEN_MAX: usize = 64 * 1024;

/// The most headers of a head.
const HEADERS_MAX: usize = 256;

/// The status of a response after which the connection does not speak HTTP any more.
const SWITCHING_PROTOCOLS: u16 = 101;

/// The head of a response.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Where the body ends.
    pub framing: Framing,
    /// The encoding of the body, if it is one that is decoded.
    pub(super) encoding: Option<Encoding>,
    /// The connection may serve another request afterwards.
    pub(super) is_kept_alive: bool,
    /// The headers, if they were asked for, or the response is no success.
    pub(super) headers: HeaderMap,
}

/// Why bytes are not the head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHead {
    /// They are not in the form of one.
    #[error("{0}")]
    Syntax(httparse::Error),
    /// It is too long.
    #[error("its head is longer than {HEAD_LEN_MAX} bytes")]
    TooLong,
    /// There are too many headers.
    #[error("it has more than {HEADERS_MAX} headers")]
    TooManyHeaders,
    /// The status code is none.
    #[error("invalid status code")]
    Status,
    /// The length is not a number, or there are several.
    #[error("invalid Content-Length")]
    Length,
    /// The transfer coding is not `chunked`, or there may be none.
    #[error("unknown Transfer-Encoding")]
    TransferEncoding,
}

/// Reads the head of the response to a request, after all that come before it (RFC 9110, section 15.2).
#[derive(Debug)]
pub struct HeadReader<'a> {
    method: &'a Method,
    keeps_headers: bool,
    /// The beginning of a head that arrives in parts.
    begun: Vec<u8>,
}

impl<'a> HeadReader<'a> {
    /// For a request with this method. The headers of a success are kept only if `keeps_headers`: a map of them takes
    /// time.
    #[must_use]
    pub fn new(method: &'a Method, keeps_headers: bool) -> Self {
        Self {
            method,
            keeps_headers,
            begun: Vec::new(),
        }
    }

    /// Reads the next part of `bytes`, which are not empty and follow what was read before. Returns how many bytes
    /// were read, at least one, and the head if it is whole.
    ///
    /// # Errors
    /// If they do not begin with the head of a response.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(usize, Option<Head>), InvalidHead> {
        let before = self.begun.len();
        let parsed = match before {
            0 => Head::parse(bytes, self.method, self.keeps_headers)?,
            _ => {
                self.begun.extend_from_slice(bytes);
                self.parse_begun(bytes)?
            }
        };
        let Some((head, len)) = parsed else {
            if before == 0 {
                self.begun.extend_from_slice(bytes);
            }
            return Ok((bytes.len(), None));
        };
        self.begun.clear();
        let is_last = head.status >= 200 || head.status == SWITCHING_PROTOCOLS;
        Ok((len - before, is_last.then_some(head)))
    }

    /// Parses once for each line, not once for each byte that arrives.
    fn parse_begun(&self, added: &[u8]) -> Result<Option<(Head, usize)>, InvalidHead> {
        if memchr::memchr(b'\n', added).is_none() && self.begun.len() <= HEAD_LEN_MAX {
            return Ok(None);
        }
        Head::parse(&self.begun, self.method, self.keeps_headers)
    }
}

impl Head {
    /// Parses the head that `bytes` begin with, of a response to a request with this method. Returns it with its
    /// length; `None` if it is not whole yet.
    fn parse(
        bytes: &[u8],
        method: &Method,
        keeps_headers: bool,
    ) -> Result<Option<(Self, usize)>, InvalidHead> {
        let mut space = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            bytes,
            &mut space,
        );
        let len = match parsed {
            Ok(httparse::Status::Complete(len)) if len <= HEAD_LEN_MAX => len,
            Ok(httparse::Status::Partial) if bytes.len() <= HEAD_LEN_MAX => return Ok(None),
            Ok(_) => return Err(InvalidHead::TooLong),
            Err(httparse::Error::TooManyHeaders) => return Err(InvalidHead::TooManyHeaders),
            Err(error) => return Err(InvalidHead::Syntax(error)),
        };
        let status = response.code.unwrap_or_default();
        if StatusCode::from_u16(status).is_err() {
            return Err(InvalidHead::Status);
        }
        let mut fields = Fields {
            is_http_1_1: response.version == Some(1),
            ..Fields::default()
        };
        for header in response.headers.iter() {
            fields.add(header);
        }
        let framing = fields.framing(method, status)?;
        let is_success = (200..300).contains(&status);
        let headers = match keeps_headers || !is_success {
            true => map_of(response.headers)?,
            false => HeaderMap::new(),
        };
        let head = Self {
            status,
            is_kept_alive: fields.is_kept_alive(&framing, status),
            framing,
            encoding: fields.encoding.and_then(Encoding::of),
            headers,
        };
        Ok(Some((head, len)))
    }
}

/// What the headers say of the connection and the body.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    is_http_1_1: bool,
    /// The first one.
    encoding: Option<&'a [u8]>,
    len: Option<u64>,
    /// A length is not a number, or there are several.
    has_invalid_len: bool,
    /// There are transfer codings,
    has_codings: bool,
    /// and another one than a single `chunked`.
    has_unknown_coding: bool,
    asks_to_close: bool,
    asks_to_keep: bool,
}

impl<'a> Fields<'a> {
    fn add(&mut self, header: &httparse::Header<'a>) {
        let (name, value) = (header.name, header.value);
        let is = |other: HeaderName| name.eq_ignore_ascii_case(other.as_str());
        if is(header::CONTENT_LENGTH) {
            for text in list(value) {
                let len = decimal(text);
                self.has_invalid_len |= len.is_none() || self.len.is_some_and(|it| Some(it) != len);
                self.len = self.len.or(len);
            }
        } else if is(header::TRANSFER_ENCODING) {
            for coding in list(value) {
                let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
                self.has_unknown_coding |= self.has_codings || !is_chunked;
                self.has_codings = true;
            }
        } else if is(header::CONNECTION) {
            for option in list(value) {
                self.asks_to_close |= option.eq_ignore_ascii_case(b"close");
                self.asks_to_keep |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is(header::CONTENT_ENCODING) {
            self.encoding.get_or_insert(value);
        }
    }

    /// RFC 9112, section 6.3. A coding that cannot be decoded is an error: otherwise the body would be taken for
    /// what it is not.
    fn framing(&self, method: &Method, status: u16) -> Result<Framing, InvalidHead> {
        if method == Method::HEAD || status < 200 || matches!(status, 204 | 304) {
            return Ok(Framing::Length(0));
        }
        if self.has_codings {
            return match self.is_http_1_1 && !self.has_unknown_coding {
                true => Ok(Framing::chunked()),
                false => Err(InvalidHead::TransferEncoding),
            };
        }
        if self.has_invalid_len {
            return Err(InvalidHead::Length);
        }
        Ok(self.len.map_or(Framing::UntilClose, Framing::Length))
    }

    /// A message with both a length and a coding may have been made to be read in two ways, so nothing that
    /// follows is trusted.
    fn is_kept_alive(&self, framing: &Framing, status: u16) -> bool {
        let is_wanted = match self.is_http_1_1 {
            true => !self.asks_to_close,
            false => self.asks_to_keep && !self.asks_to_close,
        };
        let is_ambiguous = self.has_invalid_len || (self.has_codings && self.len.is_some());
        is_wanted && !is_ambiguous && *framing != Framing::UntilClose && status >= 200
    }
}

/// The members of a list that are separated by commas (RFC 9110, section 5.6.1). A value without any is one empty
/// member.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// A number of digits alone.
fn decimal(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|_| is_number)
}

fn map_of(headers: &[httparse::Header<'_>]) -> Result<HeaderMap, InvalidHead> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| InvalidHead::Syntax(httparse::Error::HeaderName))?;
        let value = HeaderValue::from_bytes(header.value)
            .map_err(|_| InvalidHead::Syntax(httparse::Error::HeaderValue))?;
        map.append(name, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_for(method: &Method, text: &str) -> Result<Head, InvalidHead> {
        let whole = text.replace('\n', "\r\n");
        let (head, len) = Head::parse(whole.as_bytes(), method, true)?.expect("it is whole");
        assert_eq!(len, whole.len());
        Ok(head)
    }

    fn parse(text: &str) -> Result<Head, InvalidHead> {
        parse_for(&Method::GET, text)
    }

    fn framing(headers: &str) -> Result<Framing, InvalidHead> {
        parse(&format!("HTTP/1.1 200 OK\n{headers}\n")).map(|head| head.framing)
    }

    #[test]
    fn the_end_of_the_body() {
        for (headers, expected) in [
            ("", Ok(Framing::UntilClose)),
            ("Content-Length: 5\n", Ok(Framing::Length(5))),
            (
                "content-length: 5\nCONTENT-LENGTH: 5, 5\n",
                Ok(Framing::Length(5)),
            ),
            (
                "Content-Length: 5\nContent-Length: 6\n",
                Err(InvalidHead::Length),
            ),
            ("Content-Length: 5, 6\n", Err(InvalidHead::Length)),
            ("Content-Length: -5\n", Err(InvalidHead::Length)),
            ("Content-Length: +5\n", Err(InvalidHead::Length)),
            ("Content-Length: 0x5\n", Err(InvalidHead::Length)),
            ("Content-Length:\n", Err(InvalidHead::Length)),
            (
                "Content-Length: 99999999999999999999\n",
                Err(InvalidHead::Length),
            ),
            ("Transfer-Encoding: Chunked\n", Ok(Framing::chunked())),
            (
                "Transfer-Encoding: chunked\nContent-Length: 5\n",
                Ok(Framing::chunked()),
            ),
            (
                "Transfer-Encoding: gzip, chunked\n",
                Err(InvalidHead::TransferEncoding),
            ),
            (
                "Transfer-Encoding: chunked, chunked\n",
                Err(InvalidHead::TransferEncoding),
            ),
            (
                "Transfer-Encoding: chunked\ntransfer-encoding: x\n",
                Err(InvalidHead::TransferEncoding),
            ),
            (
                "Transfer-Encoding: xchunked\n",
                Err(InvalidHead::TransferEncoding),
            ),
            ("Transfer-Encoding:\n", Err(InvalidHead::TransferEncoding)),
        ] {
            assert_eq!(framing(headers), expected, "{headers}");
        }
        let old = parse("HTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n");
        assert_eq!(old, Err(InvalidHead::TransferEncoding));
    }

    #[test]
    fn responses_without_a_body() {
        let of = |method, status| {
            let head = format!("HTTP/1.1 {status} X\nContent-Length: 5\n\n");
            parse_for(method, &head).unwrap().framing
        };
        for status in [101, 103, 204, 304] {
            assert_eq!(of(&Method::GET, status), Framing::Length(0), "{status}");
        }
        assert_eq!(of(&Method::HEAD, 200), Framing::Length(0));
        assert_eq!(of(&Method::POST, 200), Framing::Length(5));
    }

    #[test]
    fn connections_that_are_kept() {
        for (version, headers, expected) in [
            (1, "Content-Length: 5\n", true),
            (1, "Content-Length: 5\nConnection: close\n", false),
            (1, "Content-Length: 5\nConnection: x, Close\n", false),
            (1, "Content-Length: 5\nTransfer-Encoding: chunked\n", false),
            (1, "Content-Length: x\nTransfer-Encoding: chunked\n", false),
            (1, "Transfer-Encoding: chunked\n", true),
            (1, "", false),
            (0, "Content-Length: 5\n", false),
            (0, "Content-Length: 5\nConnection: Keep-Alive\n", true),
            (
                0,
                "Content-Length: 5\nConnection: keep-alive, close\n",
                false,
            ),
        ] {
            let head = parse(&format!("HTTP/1.{version} 200 OK\n{headers}\n")).unwrap();
            assert_eq!(head.is_kept_alive, expected, "{version} {headers}");
        }
    }

    #[test]
    fn heads_that_are_none() {
        for (text, expected) in [
            (
                "SSH-2.0-OpenSSH_9.2\n",
                Err(InvalidHead::Syntax(httparse::Error::Version)),
            ),
            (
                "HTTP/2.0 200 OK\n\n",
                Err(InvalidHead::Syntax(httparse::Error::Version)),
            ),
            (
                "HTTP/1.1 2 OK\n\n",
                Err(InvalidHead::Syntax(httparse::Error::Status)),
            ),
            ("HTTP/1.1 000 OK\n\n", Err(InvalidHead::Status)),
            (
                "HTTP/1.1 200 OK\na b: c\n\n",
                Err(InvalidHead::Syntax(httparse::Error::HeaderName)),
            ),
        ] {
            assert_eq!(parse(text).map(|head| head.status), expected, "{text}");
        }
        let parse = |bytes: &[u8]| Head::parse(bytes, &Method::GET, false);
        let many = format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(parse(many.as_bytes()), Err(InvalidHead::TooManyHeaders));
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(HEAD_LEN_MAX));
        assert_eq!(parse(long.as_bytes()), Err(InvalidHead::TooLong));
        assert_eq!(
            parse(format!("{long}\r\n\r\n").as_bytes()),
            Err(InvalidHead::TooLong)
        );
        assert_eq!(parse(&long.as_bytes()[..HEAD_LEN_MAX]), Ok(None));
    }

    #[test]
    fn headers_are_kept_if_needed() {
        let headers_of = |status, keeps| {
            let head = format!("HTTP/1.1 {status} X\r\nA: 1\r\na: 2\r\nLocation: /ä\r\n\r\n");
            let parsed = Head::parse(head.as_bytes(), &Method::GET, keeps);
            parsed.unwrap().unwrap().0.headers
        };
        assert!(headers_of(200, false).is_empty());
        for headers in [headers_of(200, true), headers_of(302, false)] {
            assert_eq!(headers.len(), 3);
            assert_eq!(headers.get_all("a").iter().count(), 2);
            assert_eq!(headers["location"].as_bytes(), "/ä".as_bytes());
        }
    }
}
