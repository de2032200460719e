//! A question: a name and a type, read from a line.

use super::block::Block;
use super::invalid::Invalid;
use super::random::Random;
use domain::base::Rtype;
use domain::base::name::Name;
use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::str::FromStr;

/// The longest name in wire format (RFC 1035, 2.3.4).
const NAME_LEN_MAX: usize = 255;

/// The longest text of a plain name: the wire format also has the length of the first label and that of
/// the root.
const PLAIN_LEN_MAX: usize = NAME_LEN_MAX - 2;

/// A name and a type of records to ask for. The case of letters is kept, but ignored in comparisons (RFC
/// 4343).
#[derive(Clone, Debug)]
pub struct Question {
    /// The name in wire format.
    name: Box<[u8]>,
    qtype: Rtype,
}

impl PartialEq for Question {
    fn eq(&self, other: &Self) -> bool {
        // Lengths of labels are below 64, so they are not ASCII letters.
        self.qtype == other.qtype && self.name.eq_ignore_ascii_case(&other.name)
    }
}

impl Eq for Question {}

impl Hash for Question {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut lower_case = [0; NAME_LEN_MAX];
        let lower_case = &mut lower_case[..self.name.len()];
        lower_case.copy_from_slice(&self.name);
        lower_case.make_ascii_lowercase();
        // A name ends with an empty label, so its length need not be hashed.
        state.write(lower_case);
        state.write_u16(self.qtype.to_int());
    }
}

impl Question {
    /// Reads `NAME [TYPE]`. A bare IP address asks for its name (PTR); for any other name without a type,
    /// the type is `default`. Blocks of addresses are not expanded here but by [`Lines`](super::Lines);
    /// with the type PTR, a block without a valid prefix length is an error. Names that are not ASCII are
    /// converted by IDNA (UTS #46); in others, `\.` and `\DDD` stand for the byte itself (RFC 1035, 5.1).
    ///
    /// # Errors
    /// If the line is not a question.
    pub fn parse(line: &[u8], default: Rtype) -> Result<Self, Invalid> {
        if let Some(name) = plain_name(line) {
            let qtype = default;
            return Ok(Self { name, qtype });
        }
        let mut words = words(line);
        let name = words.next().ok_or(Invalid::Empty)?;
        let name = std::str::from_utf8(name).map_err(|_| Invalid::Encoding)?;
        let qtype = words.next().map(parse_type).transpose()?;
        if words.next().is_some() {
            return Err(Invalid::TooMuch);
        }
        if let Some(name) = plain_name(name.as_bytes()) {
            let qtype = qtype.unwrap_or(default);
            return Ok(Self { name, qtype });
        }
        if let Some(address) = address(name) {
            let reverse = Name::<Vec<u8>>::reverse_from_addr(address).map_err(|_| Invalid::Name)?;
            let reverse = reverse.as_slice().to_ascii_lowercase();
            return Self::new(&reverse, qtype.unwrap_or(Rtype::PTR));
        }
        if qtype.unwrap_or(default) == Rtype::PTR
            && let Some(Err(invalid)) = Block::parse(name)
        {
            return Err(invalid);
        }
        let name = if name.is_ascii() {
            Cow::Borrowed(name)
        } else {
            let bytes = name.as_bytes();
            idna::domain_to_ascii_cow(bytes, idna::AsciiDenyList::EMPTY)
                .map_err(|_| Invalid::Name)?
        };
        let name = Name::<Vec<u8>>::from_str(&name).map_err(|_| Invalid::Name)?;
        Self::new(name.as_slice(), qtype.unwrap_or(default))
    }

    fn new(name: &[u8], qtype: Rtype) -> Result<Self, Invalid> {
        // The library accepts names that are too long.
        match name.len() {
            ..=NAME_LEN_MAX => Ok(Self {
                name: name.into(),
                qtype,
            }),
            _ => Err(Invalid::Name),
        }
    }

    /// The same name with another type.
    #[must_use]
    pub fn with_type(&self, qtype: Rtype) -> Self {
        let name = self.name.clone();
        Self { name, qtype }
    }

    /// A question for the name of a label below a name in wire format; `None` if it would be too long.
    pub(super) fn below(label: &[u8], name: &[u8], qtype: Rtype) -> Option<Self> {
        let label_len = label_len(label.len())?;
        Self::new(&[&[label_len], label, name].concat(), qtype).ok()
    }

    /// The same, each letter in upper or lower case at random.
    pub(super) fn respelled(&self, random: &mut Random) -> Self {
        // Lengths of labels are below 64, so they are not ASCII letters.
        let mut name = self.name.to_ascii_lowercase().into_boxed_slice();
        for sixteen in name.chunks_mut(16) {
            let bits = random.next_u16();
            for (letter, at) in sixteen.iter_mut().zip(0..) {
                if bits & (1 << at) != 0 {
                    letter.make_ascii_uppercase();
                }
            }
        }
        Self {
            name,
            qtype: self.qtype,
        }
    }

    /// The name in wire format, spelled as it was given.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The type.
    #[must_use]
    pub fn qtype(&self) -> Rtype {
        self.qtype
    }
}

/// A type by its name or as `TYPE65`, in either case.
///
/// # Errors
/// If there is no such type.
pub fn parse_type(word: &[u8]) -> Result<Rtype, Invalid> {
    let word = std::str::from_utf8(word).map_err(|_| Invalid::Type)?;
    Rtype::from_str(word).map_err(|_| Invalid::Type)
}

/// The words of a line: a name, and perhaps a type. White space after a backslash is part of a word (RFC
/// 1035, 5.1).
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_escaped = false;
    let ends_word = move |byte: &u8| {
        let ends = !is_escaped && byte.is_ascii_whitespace();
        is_escaped = !is_escaped && *byte == b'\\';
        ends
    };
    line.split(ends_word).filter(|word| !word.is_empty())
}

/// A name in wire format, if it consists of letters, digits, hyphens and underscores, as nearly all do,
/// and ends with a letter, as no address does. The library reads all others.
fn plain_name(text: &[u8]) -> Option<Box<[u8]>> {
    let text = text.strip_suffix(b".").unwrap_or(text);
    if text.len() > PLAIN_LEN_MAX || !text.last()?.is_ascii_alphabetic() {
        return None;
    }
    let mut name = Vec::with_capacity(text.len() + 2);
    name.push(0);
    // The index of the length of the current label.
    let mut label = 0;
    for &byte in text {
        if byte == b'.' {
            name[label] = label_len(name.len() - label - 1)?;
            label = name.len();
            name.push(0);
        } else if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            name.push(byte);
        } else {
            return None;
        }
    }
    name[label] = label_len(name.len() - label - 1)?;
    name.push(0);
    Some(name.into_boxed_slice())
}

/// The length of a label in wire format, if a label may be that long.
fn label_len(len: usize) -> Option<u8> {
    u8::try_from(len).ok().filter(|len| (1..64).contains(len))
}

pub(super) fn address(name: &str) -> Option<IpAddr> {
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Result<(String, String), Invalid> {
        let question = Question::parse(line.as_bytes(), Rtype::A)?;
        let name = Name::from_slice(question.name()).unwrap();
        Ok((name.to_string(), question.qtype().to_string()))
    }

    fn is(line: &str, name: &str, qtype: &str) {
        let expected = Ok((name.to_owned(), qtype.to_owned()));
        assert_eq!(parse(line), expected, "{line:?}");
    }

    #[test]
    fn a_line_is_a_name_and_perhaps_a_type() {
        is("example.com", "example.com", "A");
        is("  Example.COM.\taaaa ", "Example.COM", "AAAA");
        is("example.com TYPE65", "example.com", "HTTPS");
        is("example.com type65000", "example.com", "TYPE65000");
        is("_sip._tcp.example.com SRV", "_sip._tcp.example.com", "SRV");
        is(". NS", ".", "NS");
        is("*.example.com", "*.example.com", "A");
        is(r"a\.b.example", r"a\.b.example", "A");
    }

    #[test]
    fn a_line_is_split_at_white_space_without_a_backslash() {
        is(r"sp\ ace.t", r"sp\ ace.t", "A");
        is(r"sp\032ace.t MX", r"sp\ ace.t", "MX");
        assert_eq!(parse("tab\\\t.t MX"), Err(Invalid::Name));
        is(r"back\\ AAAA", r"back\\", "AAAA");
        is(r"back\\\ .t AAAA", r"back\\\ .t", "AAAA");
        assert_eq!(parse(r"a.t\"), Err(Invalid::Name));
        let words: Vec<&[u8]> = words(br"sp\ ace.t A").collect();
        assert_eq!(words, [&br"sp\ ace.t"[..], b"A"]);
    }

    /// The case of letters is kept, but ignored in comparisons.
    #[test]
    fn questions_are_equal_in_any_case() {
        use std::hash::BuildHasher;
        let question = |line: &str| Question::parse(line.as_bytes(), Rtype::A).unwrap();
        for (name, mixed) in [
            ("www.example", "wWw.Example"),
            (r"a\@b", r"A\@B"),
            (".", "."),
        ] {
            let [lower, upper] = [name, mixed].map(question);
            assert_eq!(lower, upper);
            let hasher = std::hash::RandomState::new();
            assert_eq!(hasher.hash_one(&lower), hasher.hash_one(&upper));
        }
        assert_eq!(question("wWw.Example").name(), b"\x03wWw\x07Example\0");
        assert_ne!(question("a.b"), question("a.c"));
        assert_ne!(question("a.b"), question("a.b AAAA"));
        // ` and @ differ in the same bit as a letter's two cases, but are not letters.
        assert_ne!(question("`.b"), question("@.b"));
    }

    proptest! {
        /// The fast path reads names as the library does.
        #[test]
        fn plain_names_are_read_by_the_rules(name in r"([a-cA-C0_.*-]|\PC){0,9}([a-z]{1,70}\.?){0,5}") {
            if let Some(plain) = plain_name(name.as_bytes()) {
                let read = Name::<Vec<u8>>::from_str(&name).unwrap();
                prop_assert_eq!(address(&name), None);
                prop_assert_eq!(read.as_slice(), &*plain);
            }
        }
    }

    #[test]
    fn most_names_are_plain() {
        for name in [
            "a",
            "www.example.com",
            "xn--bcher-kva.Example.",
            "_sip._tcp.a-b.example",
        ] {
            assert!(plain_name(name.as_bytes()).is_some(), "{name}");
        }
        let length = |len: usize| "a.".repeat(len / 2) + "b";
        assert!(plain_name(length(252).as_bytes()).is_some());
        assert!(plain_name(length(254).as_bytes()).is_none());
        for name in [
            "",
            ".",
            "a..b",
            ".a",
            "a*",
            "192.0.2.1",
            "2001:db8::a",
            "\u{fc}.a",
        ] {
            assert!(plain_name(name.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn an_address_asks_for_its_name() {
        is("192.0.2.1", "1.2.0.192.in-addr.arpa", "PTR");
        let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        is("2001:db8::1", v6, "PTR");
        is("192.0.2.1 SOA", "1.2.0.192.in-addr.arpa", "SOA");
    }

    #[test]
    fn names_of_all_scripts_are_taken_through_idna() {
        is("bücher.example", "xn--bcher-kva.example", "A");
        is("BÜCHER.example", "xn--bcher-kva.example", "A");
        is("例え。テスト", "xn--r8jz45g.xn--zckzah", "A");
    }

    /// Names of 255 octets in wire format are valid, those of 256 are not.
    #[test]
    fn a_name_is_as_long_as_it_is_on_the_wire() {
        let label = |len: usize| "a".repeat(len);
        let name =
            |last: usize| [label(63), label(63), label(63), label(last), "t".into()].join(".");
        for (line, is_valid) in [
            (name(59), true),
            (name(59) + ".", true),
            (name(60), false),
            (name(60) + ".", false),
            (name(63), false),
            (r"\097".to_owned() + &name(59)[1..], true),
            (r"\097".to_owned() + &name(60)[1..], false),
            ("\u{fc}.".to_owned() + &name(59), false),
        ] {
            assert_eq!(parse(&line).is_ok(), is_valid, "{line}");
        }
    }

    #[test]
    fn invalid_lines_are_rejected() {
        let long = "a".repeat(64);
        let longer = "a.".repeat(128);
        for (line, invalid) in [
            ("", Invalid::Empty),
            (" \t", Invalid::Empty),
            ("a A A", Invalid::TooMuch),
            ("a NOSUCHTYPE", Invalid::Type),
            ("a TYPE65536", Invalid::Type),
            ("192.0.2.0/33 PTR", Invalid::PrefixLength),
            ("2001:db8::/ ptr", Invalid::PrefixLength),
            ("a..b", Invalid::Name),
            (".a", Invalid::Name),
            (&long, Invalid::Name),
            (&longer, Invalid::Name),
            ("\u{301}.example", Invalid::Name),
        ] {
            assert_eq!(parse(line), Err(invalid), "{line:?}");
        }
        let bytes = Question::parse(b"\xff.example", Rtype::A);
        assert_eq!(bytes, Err(Invalid::Encoding));
    }
}
