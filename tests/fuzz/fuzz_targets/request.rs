//! Requests of `ringmill http`: any line can be read. What it stands for is a URL of a web page without secrets in
//! it, which reads back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmill::jobs::http::{Template, parse_url};

fuzz_target!(|input: &[u8]| {
    if let Ok(line) = Template::default().read(input) {
        let url = &line.request.url;
        assert!(url.has_host() && url.username().is_empty() && url.password().is_none());
        assert_eq!(parse_url(url.as_str()).as_ref(), Ok(url));
        assert!(!line.input.contains_key("url"));
    }
});
