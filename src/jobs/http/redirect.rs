//! Redirects (RFC 9110, section 15.4).

use super::failure::{Failure, Step};
use super::request::{Request, parse_url, take_credentials};
use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap};

/// The request that a response redirects to; `None` if it does not redirect.
///
/// # Errors
/// If it redirects to something that is not a URL of a web page.
pub(super) fn next_request(
    request: &Request,
    status: u16,
    headers: &HeaderMap,
) -> Result<Option<Request>, Failure> {
    let is_redirect = matches!(status, 301 | 302 | 303 | 307 | 308);
    let Some(location) = headers.get(header::LOCATION).filter(|_| is_redirect) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(location.as_bytes());
    let fail = |reason: &dyn std::fmt::Display| {
        Failure::new(Step::Redirect, format_args!("to {text}: {reason}"))
    };
    let url = request.url.join(&text).map_err(|error| fail(&error))?;
    let mut url = parse_url(url.as_str()).map_err(|error| fail(&error))?;
    let credentials = take_credentials(&mut url);
    let mut next = Request {
        url,
        ..request.clone()
    };
    let becomes_get = match status {
        303 => next.method != Method::HEAD,
        301 | 302 => next.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        next.method = Method::GET;
        next.body = Bytes::new();
        next.headers.remove(header::CONTENT_TYPE);
        next.headers.remove(header::CONTENT_ENCODING);
    }
    if next.url.origin() != request.url.origin() {
        for name in [
            header::AUTHORIZATION,
            header::COOKIE,
            header::HOST,
            header::PROXY_AUTHORIZATION,
        ] {
            next.headers.remove(name);
        }
    }
    if let Some(credentials) = credentials {
        next.headers.insert(header::AUTHORIZATION, credentials);
    }
    Ok(Some(next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::http::request::Template;
    use crate::jobs::http::url_reader::UrlReader;
    use http::header::HeaderValue;

    fn request(method: Method) -> Request {
        let template = Template {
            method: Some(method),
            headers: HeaderMap::from_iter([
                (header::AUTHORIZATION, HeaderValue::from_static("secret")),
                (header::COOKIE, HeaderValue::from_static("secret")),
                (header::CONTENT_TYPE, HeaderValue::from_static("text/plain")),
            ]),
            body: Bytes::from_static(b"body"),
        };
        template
            .read(&mut UrlReader::default(), b"http://a.example/x/y?z")
            .unwrap()
            .request
    }

    fn next(method: Method, status: u16, location: &str) -> Option<Request> {
        let location = HeaderValue::from_str(location).unwrap();
        let headers = HeaderMap::from_iter([(header::LOCATION, location)]);
        next_request(&request(method), status, &headers).unwrap()
    }

    #[test]
    fn methods_and_bodies() {
        for (status, method, expected) in [
            (301, Method::POST, Method::GET),
            (302, Method::POST, Method::GET),
            (302, Method::PUT, Method::PUT),
            (303, Method::PUT, Method::GET),
            (303, Method::HEAD, Method::HEAD),
            (307, Method::POST, Method::POST),
            (308, Method::POST, Method::POST),
        ] {
            let next = next(method.clone(), status, "../b").unwrap();
            assert_eq!(next.url.as_str(), "http://a.example/b");
            assert_eq!(next.method, expected, "{status} {method}");
            let keeps_body = expected == method && method != Method::GET;
            assert_eq!(!next.body.is_empty(), keeps_body, "{status} {method}");
        }
        assert!(next(Method::GET, 200, "/b").is_none());
        assert!(next(Method::GET, 304, "/b").is_none());
    }

    #[test]
    fn secrets_stay_at_their_origin() {
        for (location, stay) in [
            ("/b", true),
            ("http://a.example:80/b", true),
            ("https://a.example/b", false),
            ("http://a.example:81/b", false),
            ("//b.example/", false),
        ] {
            let next = next(Method::GET, 302, location).unwrap();
            assert_eq!(
                next.headers.contains_key(header::AUTHORIZATION),
                stay,
                "{location}"
            );
            assert_eq!(
                next.headers.contains_key(header::COOKIE),
                stay,
                "{location}"
            );
        }
    }

    #[test]
    fn what_is_no_web_page_is_not_followed() {
        for location in ["file:///etc/passwd", "ftp://a/", "http://", "http://[::"] {
            let location = HeaderValue::from_str(location).unwrap();
            let headers = HeaderMap::from_iter([(header::LOCATION, location)]);
            let failure = next_request(&request(Method::GET), 302, &headers).unwrap_err();
            assert_eq!(failure.step, Step::Redirect);
        }
    }
}
