//! Queries on the wire (RFC 1035, EDNS by RFC 6891).

use super::message::CLASS_IN;
use super::question::Question;
use super::wire::HEADER_LEN;
use domain::base::Rtype;
use domain::base::opt::ComposeOptData;
use domain::base::opt::subnet::ClientSubnet;

/// The smallest size of replies over UDP, in octets, that can be requested with EDNS.
pub const EDNS_SIZE_MIN: u16 = 512;
/// The largest one. (Replies must fit into the client's buffer.)
pub const EDNS_SIZE_MAX: u16 = 4096;

/// The size that nearly all networks carry without fragmentation (DNS flag day 2020).
const EDNS_SIZE_DEFAULT: u16 = 1232;

/// The options of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryOptions {
    /// Recursion is desired (RD): a resolver should ask other servers for what it does not know.
    pub recursion_desired: bool,
    /// The content of the OPT record; `None`: queries have no such record.
    pub edns: Option<EdnsOptions>,
}

/// The content of a query's OPT record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdnsOptions {
    /// The size of the longest reply over UDP, in octets, from [`EDNS_SIZE_MIN`] to [`EDNS_SIZE_MAX`].
    pub udp_size: u16,
    /// Requests signatures with the records (DO, RFC 3225).
    pub dnssec_ok: bool,
    /// Requests answers for clients of this network (RFC 7871).
    pub subnet: Option<ClientSubnet>,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            recursion_desired: true,
            edns: Some(EdnsOptions::default()),
        }
    }
}

impl Default for EdnsOptions {
    fn default() -> Self {
        Self {
            udp_size: EDNS_SIZE_DEFAULT,
            dnssec_ok: false,
            subnet: None,
        }
    }
}

/// The same in wire format, so that a query is only concatenated.
#[derive(Debug)]
pub(super) struct QueryForm {
    flags: [u8; 2],
    /// The OPT record, which allows replies of more than 512 octets; empty if queries have none.
    opt: Vec<u8>,
}

impl QueryForm {
    /// # Panics
    /// If the UDP size is out of its range.
    pub(super) fn new(options: &QueryOptions) -> Self {
        Self {
            flags: [u8::from(options.recursion_desired), 0],
            opt: options.edns.as_ref().map(opt_record).unwrap_or_default(),
        }
    }

    /// True if queries may have an OPT record.
    pub(super) fn has_edns(&self) -> bool {
        !self.opt.is_empty()
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

fn opt_record(edns: &EdnsOptions) -> Vec<u8> {
    assert!((EDNS_SIZE_MIN..=EDNS_SIZE_MAX).contains(&edns.udp_size));
    const DO: u8 = 0x80;
    // The root's name. The class is the UDP size. The time to live holds the upper bits of the rcode, the
    // version (both 0) and flags.
    let mut opt = vec![0];
    opt.extend_from_slice(&Rtype::OPT.to_int().to_be_bytes());
    opt.extend_from_slice(&edns.udp_size.to_be_bytes());
    opt.extend_from_slice(&[0, 0, if edns.dnssec_ok { DO } else { 0 }, 0]);
    let options = edns
        .subnet
        .map(|subnet| option(&subnet))
        .unwrap_or_default();
    let len = u16::try_from(options.len()).expect("options are short");
    opt.extend_from_slice(&len.to_be_bytes());
    opt.extend_from_slice(&options);
    opt
}

/// An option, preceded by its code and its length.
fn option(data: &impl ComposeOptData) -> Vec<u8> {
    let head = [data.code().to_int(), data.compose_len()];
    let mut option: Vec<u8> = head.into_iter().flat_map(u16::to_be_bytes).collect();
    let Ok(()) = data.compose_option(&mut option);
    option
}

/// A query with the default options.
#[cfg(test)]
pub(super) fn default_query(id: u16, question: &Question, edns: bool) -> Vec<u8> {
    QueryForm::new(&QueryOptions::default()).query(id, question, edns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::message_builder::{MessageBuilder, OptBuilder};
    use domain::base::name::Name;

    /// The bytes of a query with and without EDNS, as the library makes them.
    fn built(
        question: &Question,
        recursion_desired: bool,
        set: impl FnOnce(&mut OptBuilder<'_, Vec<u8>>),
    ) -> [Vec<u8>; 2] {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(0xabcd);
        builder.header_mut().set_rd(recursion_desired);
        let mut builder = builder.question();
        let name = Name::from_slice(question.name()).unwrap();
        builder.push((name, question.qtype())).unwrap();
        let plain = builder.clone().finish();
        let mut builder = builder.additional();
        let set = |opt: &mut OptBuilder<'_, Vec<u8>>| {
            set(opt);
            Ok(())
        };
        builder.opt(set).unwrap();
        [builder.finish(), plain]
    }

    #[test]
    fn a_query_is_what_the_library_makes_of_it() {
        for line in ["www.example.org", ".", "192.0.2.1", "a.b TYPE65"] {
            let subnet = |prefix_len, address: &str| {
                Some(ClientSubnet::new(prefix_len, 0, address.parse().unwrap()))
            };
            for (recursion_desired, udp_size, dnssec_ok, subnet) in [
                (true, 1232, false, None),
                (false, 512, true, subnet(21, "192.0.255.255")),
                (true, 4096, true, subnet(56, "2001:db8:ffff:ffff::1")),
                (true, 4096, false, subnet(0, "192.0.2.1")),
            ] {
                let question = Question::parse(line.as_bytes(), Rtype::AAAA).unwrap();
                let form = QueryForm::new(&QueryOptions {
                    recursion_desired,
                    edns: Some(EdnsOptions {
                        udp_size,
                        dnssec_ok,
                        subnet,
                    }),
                });
                let queries = [true, false].map(|edns| form.query(0xabcd, &question, edns));
                let expected = built(&question, recursion_desired, |opt| {
                    opt.set_udp_payload_size(udp_size);
                    opt.set_dnssec_ok(dnssec_ok);
                    if let Some(subnet) = subnet {
                        opt.push(&subnet).unwrap()
                    }
                });
                assert_eq!(queries, expected);
            }
        }
    }

    #[test]
    fn recursion_and_1232_octets_are_the_default() {
        let question = Question::parse(b"a.example", Rtype::A).unwrap();
        let form = QueryForm::new(&QueryOptions::default());
        let expected = built(&question, true, |opt| opt.set_udp_payload_size(1232));
        assert!(form.has_edns());
        assert_eq!(form.query(0xabcd, &question, true), expected[0]);
        let without = QueryOptions {
            edns: None,
            ..QueryOptions::default()
        };
        assert!(!QueryForm::new(&without).has_edns());
    }

    /// The octets of RFC 7871, section 6: family, lengths, and the address as far as it is needed.
    #[test]
    fn an_address_is_cut_off_behind_its_prefix() {
        let subnet = ClientSubnet::new(21, 0, [192, 0, 255, 255].into());
        assert_eq!(option(&subnet), b"\0\x08\0\x07\0\x01\x15\0\xc0\0\xf8");
    }
}
