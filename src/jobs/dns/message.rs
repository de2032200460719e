//! Queries and replies on the wire (RFC 1035, EDNS by RFC 6891).

use super::answer::Status;
use super::question::Question;
use domain::base::Rtype;
use domain::base::iana::{Opcode, OptRcode, Rcode};
use domain::base::message::Message;
use domain::base::message_builder::MessageBuilder;
use domain::base::name::{Name, ParsedName};
use domain::base::wire::ParseError;
use domain::rdata::AllRecordData;

/// The longest reply over UDP that is asked for: what the least networks carry in one piece (DNS flag
/// day 2020).
pub(super) const UDP_REPLY_LEN_MAX: u16 = 1232;

const HEADER_LEN: usize = 12;

/// A query. `edns` adds the OPT record, by which replies of more than 512 bytes are asked for.
pub(super) fn query(id: u16, question: &Question, edns: bool) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_opcode(Opcode::QUERY);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    let name = Name::from_slice(question.name()).expect("a question has a name");
    builder
        .push((name, question.qtype()))
        .expect("there is room for one question");
    let mut builder = builder.additional();
    if edns {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(UDP_REPLY_LEN_MAX);
                Ok(())
            })
            .expect("there is room for the option");
    }
    builder.finish()
}

/// What a message with the right id, on the right socket, turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// No reply to this question. Somebody else may have sent it.
    Foreign,
    /// It did not fit; TCP gives all of it.
    Truncated,
    /// The answer, be it that there is nothing.
    Answer(Status),
    /// The server has no answer, and this is why. FORMERR also stands for a reply that does not keep
    /// to the format.
    Failure(OptRcode),
}

/// The id of a message.
pub(super) fn id(message: &[u8]) -> Option<u16> {
    let bytes = message.get(..2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
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
    let has_records = match check(parsed, question.qtype()) {
        Ok(has_records) => has_records,
        Err(_) => return Reply::Failure(OptRcode::FORMERR),
    };
    match parsed.opt_rcode() {
        OptRcode::NOERROR if has_records => Reply::Answer(Status::NoError),
        OptRcode::NOERROR => Reply::Answer(Status::NoData),
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
    message[4..6] == [0, 1] && is_the_name && rest.starts_with(&[high, low, 0, 1])
}

/// Spells the question of a reply to it as it was meant, and with it all names that point there.
pub(super) fn respell(reply: &mut [u8], question: &Question) {
    let name = question.name();
    reply[HEADER_LEN..HEADER_LEN + name.len()].copy_from_slice(name);
}

/// Reads all of a message, so that whoever prints it meets with nothing unexpected. True if the answer
/// has records of the type that was asked for.
fn check(message: &Message<[u8]>, qtype: Rtype) -> Result<bool, ParseError> {
    let mut has_records = false;
    for record in message.answer()? {
        let record = record?;
        record.to_any_record::<AllRecordData<_, ParsedName<_>>>()?;
        has_records |= record.rtype() == qtype || qtype == Rtype::ANY;
    }
    for record in message.authority()? {
        record?;
    }
    for record in message.additional()? {
        record?;
    }
    Ok(has_records)
}
