//! Queries as they are read, and replies as they are written (RFC 1035, section 4.1).

use std::net::Ipv4Addr;

pub const FORMERR: u8 = 1;
pub const SERVFAIL: u8 = 2;
pub const NOTIMP: u8 = 4;
pub const REFUSED: u8 = 5;

const HEADER_BYTES: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;
const RESPONSE: u8 = 0x80;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;

/// A compressed name that points to the question's name.
const OWNER_OF_QUESTION: [u8; 2] = [0xc0, HEADER_BYTES as u8];
const FORGED_OWNER: &[u8] = b"\x06forged\x04test\0";
const FORGED_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);

/// A query of one question.
pub struct Query<'a> {
    message: &'a [u8],
    /// Where its name and its question end.
    name_end: usize,
    question_end: usize,
}

/// What a reply says.
#[derive(Clone, Copy, Default)]
pub struct Content {
    pub rcode: u8,
    pub truncated: bool,
    /// An OPT record of the server's own.
    pub opt: bool,
    /// The address of the name.
    pub answer: bool,
    /// Before it, a record of another owner.
    pub forged: bool,
}

impl<'a> Query<'a> {
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let header = message.get(..HEADER_BYTES)?;
        if header[2] & RESPONSE != 0 || header[4..10] != [0, 1, 0, 0, 0, 0] {
            return None;
        }
        let mut name_end = HEADER_BYTES;
        loop {
            let len = usize::from(*message.get(name_end)?);
            name_end += 1 + len;
            match len {
                0 => break,
                1..=63 => {}
                _ => return None,
            }
        }
        let question_end = name_end + 4;
        (question_end <= message.len()).then_some(Self {
            message,
            name_end,
            question_end,
        })
    }

    fn name(&self) -> &[u8] {
        &self.message[HEADER_BYTES..self.name_end]
    }

    /// The first letter of the name, in lower case; 0 for the root.
    pub fn letter(&self) -> u8 {
        let first = self.message[HEADER_BYTES + 1];
        if self.name().len() > 1 {
            first.to_ascii_lowercase()
        } else {
            0
        }
    }

    /// Whether an OPT record comes first after the question.
    pub fn has_opt(&self) -> bool {
        let [high, low] = TYPE_OPT.to_be_bytes();
        self.message[self.question_end..].starts_with(&[0, high, low])
    }

    fn asks_for_address(&self) -> bool {
        let [a, b] = [TYPE_A, CLASS_IN].map(u16::to_be_bytes);
        self.message[self.name_end..self.question_end] == [a[0], a[1], b[0], b[1]]
    }

    pub fn reply(&self, content: Content) -> Vec<u8> {
        let has_answer = content.answer && self.asks_for_address();
        let mut reply = Vec::with_capacity(self.question_end + 64);
        reply.extend_from_slice(&self.message[..self.question_end]);
        reply[2] = RESPONSE | self.message[2] & RECURSION_DESIRED;
        if content.truncated {
            reply[2] |= TRUNCATED;
        }
        reply[3] = RECURSION_AVAILABLE | content.rcode;
        reply[7] = u8::from(has_answer) + u8::from(has_answer && content.forged);
        reply[11] = u8::from(content.opt);
        if has_answer {
            if content.forged {
                push_address(&mut reply, FORGED_OWNER, FORGED_ADDRESS);
            }
            push_address(&mut reply, &OWNER_OF_QUESTION, address_of(self.name()));
        }
        if content.opt {
            // The root, OPT, datagrams of 1,232 octets, no flags, no options.
            reply.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
        }
        reply
    }
}

fn push_address(reply: &mut Vec<u8>, owner: &[u8], address: Ipv4Addr) {
    const TTL: u32 = 300;
    reply.extend_from_slice(owner);
    reply.extend_from_slice(&TYPE_A.to_be_bytes());
    reply.extend_from_slice(&CLASS_IN.to_be_bytes());
    reply.extend_from_slice(&TTL.to_be_bytes());
    reply.extend_from_slice(&4_u16.to_be_bytes());
    reply.extend_from_slice(&address.octets());
}

/// The address of a name in wire form: it differs for most names, so that an answer that belongs to
/// another name is noticed.
pub fn address_of(name: &[u8]) -> Ipv4Addr {
    let checksum = crc_fast::checksum(
        crc_fast::CrcAlgorithm::Crc32IsoHdlc,
        &name.to_ascii_lowercase(),
    );
    let [.., a, b, c] = checksum.to_be_bytes();
    Ipv4Addr::new(10, a, b, c)
}
