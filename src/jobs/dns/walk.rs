//! Iterates over the records of a message in one pass, and parses no more of each than is needed: most
//! messages are read twice, to judge them and to print them.

use super::wire::{HEADER_LEN, Section};
use domain::base::Rtype;
use domain::base::message::Message;
use domain::base::record::ParsedRecord;
use domain::dep::octseq::Parser;

/// The length of the class and type of the question.
const QUESTION_TAIL_LEN: usize = 4;

/// The length of the type, class, time to live and content length of a record.
const RECORD_HEAD_LEN: usize = 10;

/// A compressed name that points to the question's (RFC 1035, 4.1.4).
const QUESTIONS_NAME: [u8; 2] = [0xc0, HEADER_LEN as u8];

/// Iterates over the records of a message with one question. The last is `None` if the message ends
/// within or before it.
pub(super) struct Walk<'a> {
    message: &'a [u8],
    /// Where the next record starts.
    next: usize,
    /// How many records are left, by section.
    left: [u16; 3],
}

/// A record in a message. Its owner and its content may be malformed.
#[derive(Clone, Copy)]
pub(super) struct RecordAt<'a> {
    message: &'a [u8],
    start: usize,
    pub(super) rtype: Rtype,
}

impl<'a> Walk<'a> {
    /// The records of all sections.
    pub(super) fn of(message: &'a Message<[u8]>) -> Self {
        let counts = message.header_counts();
        let question = end_of_name(message.as_slice(), HEADER_LEN);
        Self {
            message: message.as_slice(),
            next: question.map_or(usize::MAX, |end| end + QUESTION_TAIL_LEN),
            left: [counts.ancount(), counts.nscount(), counts.arcount()],
        }
    }

    /// Without the sections after this one.
    pub(super) fn until(mut self, last: Section) -> Self {
        self.left[last as usize + 1..].fill(0);
        self
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (Section, Option<RecordAt<'a>>);

    fn next(&mut self) -> Option<Self::Item> {
        let sections = [Section::Answer, Section::Authority, Section::Additional];
        let section = sections
            .into_iter()
            .find(|&it| self.left[it as usize] > 0)?;
        let start = self.next;
        let Some((rtype, end)) = record_at(self.message, start) else {
            self.left = [0; 3];
            return Some((section, None));
        };
        self.next = end;
        self.left[section as usize] -= 1;
        let record = RecordAt {
            message: self.message,
            start,
            rtype,
        };
        Some((section, Some(record)))
    }
}

impl<'a> RecordAt<'a> {
    /// The record; `None` if its owner cannot be read.
    pub(super) fn parsed(self) -> Option<ParsedRecord<'a, [u8]>> {
        let mut parser = Parser::from_ref(self.message);
        parser.seek(self.start).ok()?;
        ParsedRecord::parse(&mut parser).ok()
    }

    /// True if its owner is written as a pointer to the name of the question.
    pub(super) fn has_questions_name(self) -> bool {
        self.message[self.start..].starts_with(&QUESTIONS_NAME)
    }
}

/// The type of the record that starts here, and where it ends.
fn record_at(message: &[u8], start: usize) -> Option<(Rtype, usize)> {
    let head = end_of_name(message, start)?;
    let content = head + RECORD_HEAD_LEN;
    let head = message.get(head..content)?;
    let rtype = Rtype::from_int(u16::from_be_bytes([head[0], head[1]]));
    let content_len = u16::from_be_bytes([head[8], head[9]]);
    let end = content + usize::from(content_len);
    (end <= message.len()).then_some((rtype, end))
}

/// The end of the name that starts here. Pointers are not followed.
fn end_of_name(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            len @ 1..=63 => at += usize::from(len) + 1,
            0xc0.. => return Some(at + 2),
            // Reserved types of labels, not in use (RFC 6891, 5).
            64..0xc0 => return None,
        }
    }
}
