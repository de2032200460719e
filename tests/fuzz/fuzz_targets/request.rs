//! Requests of `ringmill http`: any line can be read. What it stands for is a URL of a web page without secrets in
//! it, which reads back the same, also if the host is known from the line before.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmill::jobs::http::{Template, UrlReader, parse_url};

fuzz_target!(|input: &[u8]| {
    let (template, mut urls) = (Template::default(), UrlReader::default());
    if let Ok(line) = template.read(&mut urls, input) {
        let url = &line.request.url;
        assert!(url.has_host() && url.username().is_empty() && url.password().is_none());
        assert_eq!(parse_url(url.as_str()).as_ref(), Ok(url));
        assert!(!line.input.contains_key("url"));
        let again = template.read(&mut urls, input);
        assert_eq!(&again.expect("the same line").request.url, url);
    }
});
