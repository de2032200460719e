//! Expands the lines of a list: a name to a question for each type, a block to its addresses, a comment
//! to nothing.

use super::block::Block;
use super::question::{address, parse_type, words};
use crate::item::Batch;
use crate::source::{Expand, Items};
use domain::base::Rtype;

/// Expands lines that do not stand for exactly one question. A line with a type of its own is kept, and
/// so is an address. A block of addresses is expanded to them if its own type, or one of the types for
/// all lines, is PTR.
#[derive(Clone, Debug)]
pub struct Lines {
    types: Vec<Rtype>,
    has_comments: bool,
}

impl Lines {
    /// For lists in which names without a type are looked up with each of these types.
    #[must_use]
    pub fn new(types: Vec<Rtype>) -> Self {
        Self {
            types,
            has_comments: false,
        }
    }

    /// The same for lists with comments: a `#` at the beginning of a word starts a comment, which is
    /// removed. Lines without anything else are removed, too.
    #[must_use]
    pub fn with_comments(self) -> Self {
        Self {
            has_comments: true,
            ..self
        }
    }

    /// What a line without a comment expands to; `None` if it is kept.
    fn questions(&self, line: &[u8]) -> Option<Items> {
        let mut words = words(line);
        let (name, qtype) = (words.next()?, words.next());
        if words.next().is_some() {
            return None;
        }
        let text = std::str::from_utf8(name).ok();
        if let Some(addresses) = text.and_then(|text| self.addresses_of_block(text, qtype)) {
            return Some(addresses);
        }
        if qtype.is_some() || self.types.len() == 1 || text.and_then(address).is_some() {
            return None;
        }
        let (name, types) = (name.to_vec(), self.types.clone().into_iter());
        Some(Box::new(types.map(move |qtype| with_type(&name, qtype))))
    }

    fn addresses_of_block(&self, name: &str, qtype: Option<&[u8]>) -> Option<Items> {
        let block = Block::parse(name)?;
        let are_names_wanted = match qtype {
            Some(word) => parse_type(word) == Ok(Rtype::PTR),
            None => self.types.contains(&Rtype::PTR),
        };
        if !are_names_wanted {
            return None;
        }
        match block {
            Ok(block) => Some(Box::new(block.map(|it| it.to_string().into_bytes()))),
            // A single row reports the error, even if there are other types.
            Err(_) => Some(Box::new(std::iter::once(with_type(name, Rtype::PTR)))),
        }
    }
}

impl Expand for Lines {
    fn keeps(&self, batch: &Batch) -> bool {
        self.types.len() == 1 && !self.has_comments && !batch.contains(b'/')
    }

    fn expand(&self, line: &[u8]) -> Option<Items> {
        if !self.has_comments {
            return self.questions(line);
        }
        let rest = without_comment(line);
        if words(rest).next().is_none() {
            return Some(Box::new(std::iter::empty()));
        }
        let is_cut = rest.len() < line.len();
        let cut = || -> Items { Box::new(std::iter::once(rest.to_vec())) };
        self.questions(rest).or_else(|| is_cut.then(cut))
    }
}

/// A line up to the first word that begins with `#`.
fn without_comment(line: &[u8]) -> &[u8] {
    let (mut begins_word, mut is_escaped) = (true, false);
    for (at, &byte) in line.iter().enumerate() {
        if byte == b'#' && begins_word {
            return &line[..at];
        }
        begins_word = byte.is_ascii_whitespace() && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
    }
    line
}

fn with_type(name: impl AsRef<[u8]>, qtype: Rtype) -> Vec<u8> {
    [name.as_ref(), format!(" {qtype}").as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a line expands to with these types.
    fn expanded(lines: &Lines, line: &str) -> Vec<String> {
        let items = lines.expand(line.as_bytes());
        let items = items.unwrap_or_else(|| {
            let kept = line.as_bytes().to_vec();
            Box::new(std::iter::once(kept))
        });
        items.map(|item| String::from_utf8(item).unwrap()).collect()
    }

    #[track_caller]
    fn becomes(types: &[Rtype], line: &str, items: &[&str]) {
        let lines = Lines::new(types.to_vec());
        assert_eq!(expanded(&lines, line), items, "{line:?} {types:?}");
        let is_kept = items == [line];
        let batch = Batch::from_iter([line]);
        assert!(!lines.keeps(&batch) || is_kept, "{line:?} {types:?}");
    }

    #[test]
    fn types_are_for_names_without() {
        let types = [Rtype::A, Rtype::MX];
        for (line, items) in [
            ("a.example", &["a.example A", "a.example MX"][..]),
            (" a.example ", &["a.example A", "a.example MX"]),
            (r"sp\ ace.t", &[r"sp\ ace.t A", r"sp\ ace.t MX"]),
            ("192.0.2.0/31", &["192.0.2.0/31 A", "192.0.2.0/31 MX"]),
            ("a.example NS", &["a.example NS"]),
            ("a b c", &["a b c"]),
            ("192.0.2.1", &["192.0.2.1"]),
            ("", &[""]),
        ] {
            becomes(&types, line, items);
        }
        for line in ["a.example", " a.example ", "", "192.0.2.1"] {
            becomes(&[Rtype::A], line, &[line]);
        }
    }

    #[test]
    fn a_block_is_its_addresses_where_names_are_asked_for() {
        let both = ["192.0.2.0", "192.0.2.1"];
        becomes(&[Rtype::PTR], "192.0.2.1/31", &both);
        becomes(&[Rtype::PTR], " 192.0.2.0/31\tptr ", &both);
        becomes(&[Rtype::A], "192.0.2.0/31 PTR", &both);
        becomes(&[Rtype::A, Rtype::PTR], "192.0.2.0/31", &both);
        becomes(&[Rtype::PTR], "2001:db8::1/128", &["2001:db8::1"]);
        for (types, line) in [
            (&[Rtype::A], "192.0.2.0/31"),
            (&[Rtype::PTR], "192.0.2.0/31 A"),
            (&[Rtype::PTR], "192.0.2.0/31 PTR x"),
            (&[Rtype::PTR], "0/25.2.0.192.in-addr.arpa"),
        ] {
            becomes(types, line, &[line]);
        }
        let bad = ["192.0.2.0/33 PTR"];
        becomes(&[Rtype::A, Rtype::PTR], "192.0.2.0/33", &bad);
        becomes(&[Rtype::PTR], "192.0.2.0/33", &bad);
    }

    #[test]
    fn comments_stand_for_nothing() {
        let lines = |types: &[Rtype]| Lines::new(types.to_vec()).with_comments();
        for (line, items) in [
            ("# a.example", &[][..]),
            (" \t#a.example", &[]),
            ("#", &[]),
            ("", &[]),
            (" \r", &[]),
            ("a.example", &["a.example"]),
            ("a.example # a comment # more", &["a.example "]),
            ("a.example\tMX\t#", &["a.example\tMX\t"]),
            // No word begins there.
            ("a#b.example", &["a#b.example"]),
            (r"a\ #b.example", &[r"a\ #b.example"]),
            (r"a\\ #b.example", &[r"a\\ "]),
            ("192.0.2.0/31 PTR # two", &["192.0.2.0", "192.0.2.1"]),
        ] {
            assert_eq!(expanded(&lines(&[Rtype::A]), line), items, "{line:?}");
        }
        let two = ["a.t A", "a.t MX"];
        assert_eq!(expanded(&lines(&[Rtype::A, Rtype::MX]), "a.t # x"), two);
        for line in ["# a.example", "", "a.example #"] {
            becomes(&[Rtype::A], line, &[line]);
        }
    }

    /// Most lists have no slash, and their batches are passed on unchanged.
    #[test]
    fn a_batch_without_a_block_is_kept() {
        let lines = Lines::new(vec![Rtype::PTR]);
        assert!(lines.keeps(&Batch::from_iter(["a.example", "192.0.2.1"])));
        assert!(!lines.keeps(&Batch::from_iter(["a.example", "192.0.2.0/24"])));
    }
}
