//! Reads the URLs of a list, in which the next one mostly has the host of the one before.

use super::request::{Invalid, parse_url};
use url::Url;

/// Reads absolute URLs of web pages. The host of the last one is not parsed again.
#[derive(Debug, Default)]
pub struct UrlReader {
    /// Scheme and authority of the last URL, as they were written, and that URL.
    last: Option<(Box<str>, Url)>,
}

impl UrlReader {
    /// Does the same as [`parse_url`].
    ///
    /// # Errors
    /// If it is not such a URL.
    pub fn read(&mut self, text: &str) -> Result<Url, Invalid> {
        if let Some((start, last)) = &self.last
            && let Some(path) = text.strip_prefix(&**start)
            && is_plain_path(path)
        {
            let mut url = last.join(path)?;
            url.set_fragment(None);
            return Ok(url);
        }
        let url = parse_url(text)?;
        self.last = start_of(text).map(|start| (start.into(), url.clone()));
        Ok(url)
    }
}

/// Scheme and authority, if they are written so that their end is certain.
fn start_of(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))?;
    let is_part =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let len = rest.bytes().take_while(is_part).count();
    let (authority, path) = rest.split_at(len);
    let is_certain = !authority.is_empty() && (path.is_empty() || path.starts_with('/'));
    is_certain.then(|| &url[..url.len() - path.len()])
}

/// True for an absolute path, possibly with more after it, that contains nothing that a parser of URLs removes or
/// takes for a slash. Two slashes would begin another authority.
fn is_plain_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    path.starts_with('/') && !path.starts_with("//") && path.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What was read before makes no difference.
        #[test]
        fn same_as_without_memory(urls in prop::collection::vec(
            r"(http://|https://|HTTP://|http:/|http:///)(a|A\.b|b:80|b:443|u@a|1\.2|\[::1\]|a_b|)[/\\?#.% \t:@xä\[]{0,6}",
            1..8,
        )) {
            let mut reader = UrlReader::default();
            for url in urls {
                prop_assert_eq!(reader.read(&url), parse_url(&url), "{:?}", url);
            }
        }
    }

    #[test]
    fn only_plain_paths_follow_a_known_start() {
        for (url, start) in [
            ("http://a.example/x?y", Some("http://a.example")),
            ("https://a.example:8443", Some("https://a.example:8443")),
            ("http:///a", None),
            ("http://u@a/", None),
            ("http://a?x", None),
            ("HTTP://a/", None),
        ] {
            assert_eq!(start_of(url), start);
        }
        for (path, expected) in [
            ("/", true),
            ("/x/../y?a=/&b#c", true),
            ("", false),
            ("x", false),
            ("//b/", false),
            ("/\\b", false),
            ("/\t/b", false),
            ("/ä", false),
        ] {
            assert_eq!(is_plain_path(path), expected, "{path}");
        }
    }
}
