//! Queries and replies on the wire (RFC 1035, EDNS by RFC 6891).

use super::answer::Status;
use super::question::Question;
use super::reading::{self, Reading};
use domain::base::Rtype;
use domain::base::iana::{Opcode, OptRcode, Rcode};
use domain::base::message::Message;

/// The longest reply over UDP that is asked for: what the least networks carry in one piece (DNS flag
/// day 2020).
pub(super) const UDP_REPLY_LEN_MAX: u16 = 1232;

const HEADER_LEN: usize = 12;

const CLASS_IN: [u8; 2] = [0, 1];

/// The flags of a query: recursion is desired (RD).
const QUERY_FLAGS: [u8; 2] = [1, 0];

/// The bytes of an OPT record without options.
const OPT_LEN: usize = 11;

/// A query. `edns` adds the OPT record, by which replies of more than 512 bytes are asked for.
pub(super) fn query(id: u16, question: &Question, edns: bool) -> Vec<u8> {
    let name = question.name();
    // The type, the class and the OPT record follow.
    let mut query = Vec::with_capacity(HEADER_LEN + name.len() + 4 + OPT_LEN);
    query.extend_from_slice(&id.to_be_bytes());
    query.extend_from_slice(&QUERY_FLAGS);
    // One question, no answers, no authority records.
    query.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
    query.extend_from_slice(name);
    query.extend_from_slice(&question.qtype().to_int().to_be_bytes());
    query.extend_from_slice(&CLASS_IN);
    if edns {
        // The root's name. The class says how long a reply may be, the time to live is 0.
        query.push(0);
        query.extend_from_slice(&Rtype::OPT.to_int().to_be_bytes());
        query.extend_from_slice(&UDP_REPLY_LEN_MAX.to_be_bytes());
        query.extend_from_slice(&[0; 6]);
    }
    query
}

/// What a message with the right id, on the right socket, turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// No reply to this question. Somebody else may have sent it.
    Foreign,
    /// It did not fit; TCP gives all of it.
    Truncated,
    /// The answer, be it that there is nothing, or that others have to be asked.
    Answer(Status),
    /// The server has no answer, and this is why.
    Failure(OptRcode),
    /// It is said to be an answer, but nothing of that can be read.
    Malformed,
}

/// The id of a message.
pub(super) fn id(message: &[u8]) -> Option<u16> {
    let bytes = message.get(..2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Marks a message as one that did not fit.
pub(super) fn set_truncated(message: &mut [u8]) {
    const TC: u8 = 2;
    message[2] |= TC;
}

/// How the question of a reply must be spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// In any case of its letters.
    Any,
    /// As it was asked.
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
        // Servers that do not understand a query may not repeat it either.
        return Reply::Failure(OptRcode::from(header.rcode()));
    }
    if !asks(message, question, spelling) {
        return Reply::Foreign;
    }
    if header.tc() {
        return Reply::Truncated;
    }
    match reading::rcode(parsed) {
        OptRcode::NOERROR => match Reading::new(parsed, question.qtype()).status() {
            Status::Malformed => Reply::Malformed,
            status => Reply::Answer(status),
        },
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

/// Spells the question of a reply to it as it was meant, and with it all names that point there.
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

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::message_builder::{MessageBuilder, OptBuilder};
    use domain::base::name::Name;

    #[test]
    fn a_query_is_what_the_library_makes_of_it() {
        for line in ["www.example.org", ".", "192.0.2.1", "a.b TYPE65"] {
            let question = Question::parse(line.as_bytes(), Rtype::AAAA).unwrap();
            let mut builder = MessageBuilder::new_vec();
            builder.header_mut().set_id(0xabcd);
            builder.header_mut().set_rd(true);
            let mut builder = builder.question();
            let name = Name::from_slice(question.name()).unwrap();
            builder.push((name, question.qtype())).unwrap();
            let plain = builder.clone().finish();
            let mut builder = builder.additional();
            let set_length = |opt: &mut OptBuilder<'_, Vec<u8>>| {
                opt.set_udp_payload_size(UDP_REPLY_LEN_MAX);
                Ok(())
            };
            builder.opt(set_length).unwrap();
            assert_eq!(query(0xabcd, &question, false), plain);
            assert_eq!(query(0xabcd, &question, true), builder.finish());
        }
    }
}
