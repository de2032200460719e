//! GNU lines: each result is exactly one line, from which its digest and its name come back.
//!
//! The first byte of the input chooses layout and algorithm; the rest is the name.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use ringmill::digest::Algorithm;
use ringmill::sink::gnu::{Layout, write_line};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&choice, name)) = input.split_first() else {
        return Corpus::Reject;
    };
    if name.contains(&0) {
        // No file with such a name can be opened, so there is never a digest to write.
        return Corpus::Reject;
    }
    let layout = Layout {
        tag: choice & 1 != 0,
        zero: choice & 2 != 0,
    };
    let algorithm = Algorithm::ALL[usize::from(choice >> 2) % Algorithm::ALL.len()];
    let digest = algorithm.digest(name);
    let mut hex = Vec::new();
    digest.write_hex(&mut hex);
    assert_eq!(hex.len(), 2 * algorithm.digest_len_bytes());

    // Lines are appended to the existing bytes.
    let mut lines = Vec::new();
    for _ in 0..2 {
        write_line(&mut lines, layout, algorithm, &digest, name);
    }
    let end = if layout.zero { 0 } else { b'\n' };
    let parts: Vec<&[u8]> = lines.split(|&byte| byte == end).collect();
    let [first, second, []] = parts[..] else {
        panic!("two results are {} lines", parts.len() - 1);
    };
    assert_eq!(first, second);
    if !layout.zero {
        assert!(!first.contains(&b'\r'), "a carriage return in a line");
    }

    let (read_hex, read_name) = read_line(layout, algorithm, first);
    assert_eq!(read_hex, hex);
    assert_eq!(read_name, name);
    Corpus::Keep
});

/// Takes a line apart as `sha256sum --check` does.
fn read_line(layout: Layout, algorithm: Algorithm, line: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (is_escaped, line) = match line.strip_prefix(b"\\") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    assert!(
        !(is_escaped && layout.zero),
        "escaped although it ends with NUL"
    );
    let hex_len = 2 * algorithm.digest_len_bytes();
    let (hex, name) = if layout.tag {
        let line = line.strip_prefix(algorithm.tag().as_bytes()).expect("tag");
        let line = line.strip_prefix(b" (").expect("parenthesis");
        // A name may itself contain the end mark, so the end is counted from the right.
        let (line, hex) = line.split_at(line.len() - hex_len);
        (hex, line.strip_suffix(b") = ").expect("equals sign"))
    } else {
        let (hex, line) = line.split_at(hex_len);
        (hex, line.strip_prefix(b"  ").expect("two blanks"))
    };
    let name = if is_escaped {
        unescaped(name)
    } else {
        name.to_vec()
    };
    (hex.to_vec(), name)
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut name = Vec::new();
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        name.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b'\\') => b'\\',
                other => panic!("unknown escape {other:?}"),
            },
            byte => byte,
        });
    }
    assert_ne!(name, text, "escaped for nothing");
    name
}
