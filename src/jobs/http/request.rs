//! Requests as text: a URL, or a JSON object with one.

use super::url_reader::UrlReader;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use url::Url;

/// A request to send.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where to; its scheme is `http` or `https`, it has a host, and neither user name nor password.
    pub url: Url,
    /// The method.
    pub method: Method,
    /// The headers besides those that the connection needs.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
}

/// What the requests of a run have in common. A line may say something else.
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// The method; `None` for GET, or POST if there is a body.
    pub method: Option<Method>,
    /// Headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A line that was read.
#[derive(Clone, Debug)]
pub struct Line {
    /// The URL as it was written.
    pub url: Box<str>,
    /// The request.
    pub request: Request,
    /// The members of a JSON object that have no meaning here: they are repeated in the row.
    pub input: Map<String, Value>,
}

/// Why a line is not a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The line is blank.
    #[error("no URL")]
    Empty,
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// It is not a URL.
    #[error("not a URL: {0}")]
    Url(#[from] url::ParseError),
    /// It is a URL without `http://` or `https://`.
    #[error("not an http or https URL")]
    Scheme,
    /// It begins as a JSON object does.
    #[error("not a JSON object: {0}")]
    Json(String),
    /// A member of the object is not what it must be.
    #[error("`{0}` is not {1}")]
    Member(&'static str, &'static str),
}

impl Template {
    /// Reads a line, and its URL by `urls`. Blanks around it are ignored.
    ///
    /// # Errors
    /// If it is not a request.
    pub fn read(&self, urls: &mut UrlReader, line: &[u8]) -> Result<Line, Invalid> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Err(Invalid::Empty);
        }
        if line.starts_with(b"{") {
            return self.read_object(urls, line);
        }
        let url = std::str::from_utf8(line).map_err(|_| Invalid::Encoding)?;
        Ok(Line {
            url: url.into(),
            request: self.request(urls.read(url)?),
            input: Map::new(),
        })
    }

    fn request(&self, mut url: Url) -> Request {
        let mut headers = self.headers.clone();
        if let Some(authorization) = take_credentials(&mut url) {
            headers.entry(AUTHORIZATION).or_insert(authorization);
        }
        let method = self.method.clone();
        Request {
            url,
            method: method.unwrap_or_else(|| method_for(&self.body)),
            headers,
            body: self.body.clone(),
        }
    }

    fn read_object(&self, urls: &mut UrlReader, line: &[u8]) -> Result<Line, Invalid> {
        let mut input: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| Invalid::Json(error.to_string()))?;
        let Some(Value::String(url)) = input.shift_remove("url") else {
            return Err(Invalid::Member("url", "a string"));
        };
        let url: Box<str> = url.trim_ascii().into();
        let mut request = self.request(urls.read(&url)?);
        let method = input
            .shift_remove("method")
            .map(|method| read_method(&method));
        if let Some(body) = input.shift_remove("body") {
            request.body = read_body(body)?;
            if self.method.is_none() {
                request.method = method_for(&request.body);
            }
        }
        if let Some(method) = method {
            request.method = method?;
        }
        if let Some(headers) = input.shift_remove("headers") {
            read_headers(&mut request.headers, &headers)?;
        }
        Ok(Line {
            url,
            request,
            input,
        })
    }
}

/// Reads an absolute URL of a web page. What follows a `#` is removed.
///
/// # Errors
/// If it is not such a URL.
pub fn parse_url(text: &str) -> Result<Url, Invalid> {
    let mut url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => Invalid::Scheme,
        error => Invalid::Url(error),
    })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Invalid::Scheme);
    }
    url.set_fragment(None);
    Ok(url)
}

/// Removes user name and password from a URL. Returns the header for them (RFC 7617).
pub(super) fn take_credentials(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(url.password().unwrap_or_default()));
    // They fail for URLs without a host only.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(credentials))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn method_for(body: &Bytes) -> Method {
    match body.is_empty() {
        true => Method::GET,
        false => Method::POST,
    }
}

fn read_method(value: &Value) -> Result<Method, Invalid> {
    let method = value.as_str().and_then(parse_method);
    method.ok_or(Invalid::Member("method", "the name of a method"))
}

/// A method by its name. CONNECT, which asks for a tunnel, is none.
#[must_use]
pub fn parse_method(name: &str) -> Option<Method> {
    let method = Method::from_bytes(name.as_bytes()).ok()?;
    (method != Method::CONNECT).then_some(method)
}

/// A string, or as in rows an object with a member `text` or, in base64, `bytes`.
fn read_body(value: Value) -> Result<Bytes, Invalid> {
    let invalid = Invalid::Member("body", "a string, {\"text\": …} or {\"bytes\": base64}");
    let body = match value {
        Value::String(text) => Some(text.into_bytes()),
        Value::Object(object) if object.len() == 1 => match object.into_iter().next() {
            Some((key, Value::String(text))) if key == "text" => Some(text.into_bytes()),
            Some((key, Value::String(text))) if key == "bytes" => BASE64.decode(text).ok(),
            _ => None,
        },
        _ => None,
    };
    body.map(Bytes::from).ok_or(invalid)
}

/// The headers of an object replace those of the same names.
fn read_headers(headers: &mut HeaderMap, value: &Value) -> Result<(), Invalid> {
    let invalid = || {
        Invalid::Member(
            "headers",
            "an object of names with strings or lists of them",
        )
    };
    for (name, values) in value.as_object().ok_or_else(invalid)? {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| invalid())?;
        if is_of_connection(&name) {
            return Err(Invalid::Member(
                "headers",
                "without those of the connection",
            ));
        }
        headers.remove(&name);
        let values = match values {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        for value in values {
            let value = value
                .as_str()
                .and_then(|value| HeaderValue::from_str(value).ok());
            headers.append(&name, value.ok_or_else(invalid)?);
        }
    }
    Ok(())
}

/// Reads `NAME: VALUE`.
///
/// # Errors
/// In words, if it is not a header, or one that the connection itself sets.
pub fn parse_header(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = line
        .split_once(':')
        .ok_or("a header is written as NAME: VALUE")?;
    let name = HeaderName::try_from(name.trim_ascii())
        .map_err(|_| format!("not the name of a header: {name}"))?;
    if is_of_connection(&name) {
        return Err(format!("the header {name} is set as each request needs it"));
    }
    let value = HeaderValue::from_str(value.trim_ascii())
        .map_err(|_| format!("not the value of a header: {value}"))?;
    Ok((name, value))
}

/// True for headers that frame a message or rule the connection.
fn is_of_connection(name: &HeaderName) -> bool {
    use http::header as h;
    [
        h::CONNECTION,
        h::CONTENT_LENGTH,
        h::TE,
        h::TRAILER,
        h::TRANSFER_ENCODING,
        h::UPGRADE,
    ]
    .contains(name)
}

impl Request {
    /// True if sending it twice does what sending it once does (RFC 9110, section 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Result<Line, Invalid> {
        Template::default().read(&mut UrlReader::default(), line.as_bytes())
    }

    fn url_of(line: &str) -> Result<String, Invalid> {
        read(line).map(|line| line.request.url.to_string())
    }

    #[test]
    fn urls() {
        for (line, expected) in [
            ("http://a.example", Ok("http://a.example/")),
            (" HTTP://A.Example:80/x#y\r", Ok("http://a.example/x")),
            (
                "https://[::1]:8443/a b?q=ä",
                Ok("https://[::1]:8443/a%20b?q=%C3%A4"),
            ),
            ("http://bücher.example", Ok("http://xn--bcher-kva.example/")),
            ("http://127.1/", Ok("http://127.0.0.1/")),
            ("", Err(Invalid::Empty)),
            ("a.example", Err(Invalid::Scheme)),
            ("a.example:80/x", Err(Invalid::Scheme)),
            ("ftp://a.example/", Err(Invalid::Scheme)),
            ("file:///etc/passwd", Err(Invalid::Scheme)),
            ("http://", Err(Invalid::Url(url::ParseError::EmptyHost))),
            (
                "http://a:99999/",
                Err(Invalid::Url(url::ParseError::InvalidPort)),
            ),
        ] {
            assert_eq!(url_of(line), expected.map(str::to_owned), "{line:?}");
        }
        let read = Template::default().read(&mut UrlReader::default(), b"http://\xff/");
        assert_eq!(read.unwrap_err(), Invalid::Encoding);
    }

    #[test]
    fn credentials_become_a_header() {
        let line = read("http://us%40er:pass@a.example/").unwrap();
        assert_eq!(line.request.url.as_str(), "http://a.example/");
        // us@er:pass
        assert_eq!(
            line.request.headers[AUTHORIZATION],
            "Basic dXNAZXI6cGFzcw=="
        );
    }

    #[test]
    fn objects() {
        let line = read(
            r#"{"url": "http://a.example/", "id": 7, "method": "PUT", "headers": {"X-A": "1", "x-b": ["2", "3"]},
               "body": {"bytes": "AAE="}}"#,
        )
        .unwrap();
        assert_eq!(line.request.method, Method::PUT);
        assert_eq!(&line.request.body[..], [0, 1]);
        assert_eq!(line.request.headers["x-a"], "1");
        assert_eq!(line.request.headers.get_all("x-b").iter().count(), 2);
        assert_eq!(Value::Object(line.input), serde_json::json!({"id": 7}));
        let post = read(r#"{"url": "http://a.example/", "body": "text"}"#).unwrap();
        assert_eq!(post.request.method, Method::POST);
        assert_eq!(&post.request.body[..], b"text");
        for (line, member) in [
            (r#"{"id": 1}"#, "url"),
            (r#"{"url": 1}"#, "url"),
            (r#"{"url": "http://a", "method": "A B"}"#, "method"),
            (r#"{"url": "http://a", "method": "CONNECT"}"#, "method"),
            (r#"{"url": "http://a", "body": 1}"#, "body"),
            (r#"{"url": "http://a", "body": {"bytes": "?"}}"#, "body"),
            (r#"{"url": "http://a", "headers": []}"#, "headers"),
            (r#"{"url": "http://a", "headers": {"a b": "1"}}"#, "headers"),
            (r#"{"url": "http://a", "headers": {"a": "1\n"}}"#, "headers"),
            (
                r#"{"url": "http://a", "headers": {"Content-Length": "1"}}"#,
                "headers",
            ),
        ] {
            match read(line) {
                Err(Invalid::Member(name, _)) => assert_eq!(name, member, "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        assert!(matches!(read("{nonsense"), Err(Invalid::Json(_))));
    }

    #[test]
    fn headers_of_the_command_line() {
        assert_eq!(
            parse_header("X-Name:  a value "),
            Ok(("x-name".parse().unwrap(), "a value".parse().unwrap()))
        );
        for line in [
            "no colon",
            ": x",
            "a b: c",
            "Transfer-Encoding: chunked",
            "a: b\rc",
        ] {
            assert!(parse_header(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_can_be_read(line in "(\\PC|[{}\":/@%#? 0-9a-f\\[\\]]){0,40}") {
            if let Ok(line) = read(&line) {
                let url = &line.request.url;
                prop_assert!(url.has_host() && url.username().is_empty() && url.fragment().is_none());
            }
        }
    }
}
