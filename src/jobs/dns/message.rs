//! Replies on the wire (RFC 1035).

use super::question::Question;
use super::reading::{self, Outcome};
use super::status::Status;
use super::wire::HEADER_LEN;
use domain::base::iana::{Opcode, OptRcode, Rcode};
use domain::base::message::Message;

pub(super) const CLASS_IN: [u8; 2] = [0, 1];

/// The kind of a message that came with a known id on its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It is not a reply to this question, and may be forged.
    Foreign,
    /// The answer did not fit; TCP delivers all of it.
    Truncated,
    /// An answer; it may be negative, or a referral.
    Answer(Status),
    /// The server has no answer: the code says why.
    Failure(OptRcode),
    /// It claims to be an answer, but no record of it can be read.
    Malformed,
}

/// The id of a message.
pub(super) fn id(message: &[u8]) -> Option<u16> {
    let bytes = message.get(..2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Marks a message as truncated.
pub(super) fn set_truncated(message: &mut [u8]) {
    const TC: u8 = 2;
    message[2] |= TC;
}

/// How the question of a reply must be spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// In upper or lower case.
    Any,
    /// Exactly as it was asked.
    Exact,
}

/// Judges a message that came with the id of this question.
pub(super) fn judge(message: &[u8], question: &Question, spelling: Spelling) -> Reply {
    let Ok(parsed) = Message::from_slice(message) else {
        return Reply::Foreign;
    };
    let header = parsed.header();
    if !header.qr() || header.opcode() != Opcode::QUERY {
        return Reply::Foreign;
    }
    let is_answer = matches!(header.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN);
    if parsed.header_counts().qdcount() == 0 && !is_answer {
        // Servers that do not understand a query may leave out the question, too.
        return Reply::Failure(OptRcode::from(header.rcode()));
    }
    if !asks(message, question, spelling) {
        return Reply::Foreign;
    }
    if header.tc() {
        return Reply::Truncated;
    }
    let Outcome { rcode, status } = reading::outcome(parsed, question.qtype());
    match rcode {
        OptRcode::NOERROR if status == Status::Malformed => Reply::Malformed,
        OptRcode::NOERROR => Reply::Answer(status),
        OptRcode::NXDOMAIN => Reply::Answer(Status::NxDomain),
        rcode => Reply::Failure(rcode),
    }
}

/// True if the message repeats this question and no other.
fn asks(message: &[u8], question: &Question, spelling: Spelling) -> bool {
    let name = question.name();
    let Some(rest) = message.get(HEADER_LEN..) else {
        return false;
    };
    let Some((asked, rest)) = rest.split_at_checked(name.len()) else {
        return false;
    };
    let [high, low] = question.qtype().to_int().to_be_bytes();
    let is_the_name = match spelling {
        Spelling::Any => asked.eq_ignore_ascii_case(name),
        Spelling::Exact => asked == name,
    };
    message[4..6] == [0, 1]
        && is_the_name
        && rest.starts_with(&[high, low])
        && rest[2..].starts_with(&CLASS_IN)
}

/// Restores the original case of the question in a reply to it, and thereby of all compressed names that
/// point there.
pub(super) fn respell(reply: &mut [u8], question: &Question) {
    let name = question.name();
    reply[HEADER_LEN..HEADER_LEN + name.len()].copy_from_slice(name);
}

/// The name in the question of a reply that repeats it.
pub(super) fn name(reply: &[u8]) -> &[u8] {
    let question = &reply[HEADER_LEN..];
    let mut len = 1;
    while question[len - 1] != 0 {
        len += usize::from(question[len - 1]) + 1;
    }
    &question[..len]
}
