//! Queries on the wire (RFC 1035, EDNS by RFC 6891).

use super::message::{CLASS_IN, HEADER_LEN};
use super::question::Question;
use domain::base::Rtype;

/// The longest reply over UDP that is asked for: what the least networks carry in one piece (DNS flag
/// day 2020).
const UDP_REPLY_LEN_MAX: u16 = 1232;

/// What queries say besides their questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryOptions {
    /// Recursion is desired (RD): a resolver is to ask other servers for what it does not know.
    pub recursion_desired: bool,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            recursion_desired: true,
        }
    }
}

/// The same as bytes, so that a query is only put together.
#[derive(Debug)]
pub(super) struct QueryForm {
    flags: [u8; 2],
    /// The OPT record, by which replies of more than 512 bytes are asked for.
    opt: Vec<u8>,
}

impl QueryForm {
    pub(super) fn new(options: &QueryOptions) -> Self {
        Self {
            flags: [u8::from(options.recursion_desired), 0],
            opt: opt_record(),
        }
    }

    /// A query. `edns` adds the OPT record.
    pub(super) fn query(&self, id: u16, question: &Question, edns: bool) -> Vec<u8> {
        let name = question.name();
        // The type, the class and the OPT record follow.
        let mut query = Vec::with_capacity(HEADER_LEN + name.len() + 4 + self.opt.len());
        query.extend_from_slice(&id.to_be_bytes());
        query.extend_from_slice(&self.flags);
        // One question, no answers, no authority records.
        query.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
        query.extend_from_slice(name);
        query.extend_from_slice(&question.qtype().to_int().to_be_bytes());
        query.extend_from_slice(&CLASS_IN);
        if edns {
            query.extend_from_slice(&self.opt);
        }
        query
    }
}

fn opt_record() -> Vec<u8> {
    // The root's name. The class says how long a reply may be, the time to live is 0.
    let mut opt = vec![0];
    opt.extend_from_slice(&Rtype::OPT.to_int().to_be_bytes());
    opt.extend_from_slice(&UDP_REPLY_LEN_MAX.to_be_bytes());
    opt.extend_from_slice(&[0; 6]);
    opt
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::message_builder::{MessageBuilder, OptBuilder};
    use domain::base::name::Name;

    #[test]
    fn a_query_is_what_the_library_makes_of_it() {
        for line in ["www.example.org", ".", "192.0.2.1", "a.b TYPE65"] {
            for recursion_desired in [true, false] {
                let question = Question::parse(line.as_bytes(), Rtype::AAAA).unwrap();
                let mut builder = MessageBuilder::new_vec();
                builder.header_mut().set_id(0xabcd);
                builder.header_mut().set_rd(recursion_desired);
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
                let form = QueryForm::new(&QueryOptions { recursion_desired });
                assert_eq!(form.query(0xabcd, &question, false), plain);
                assert_eq!(form.query(0xabcd, &question, true), builder.finish());
            }
        }
    }
}
