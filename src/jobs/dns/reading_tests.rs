//! How replies are read, valid and malformed ones.

use super::answer::{Answer, Subject};
use super::message::{self, Reply, Spelling};
use super::query;
use super::question::Question;
use super::reading::Malformed;
use super::status::Status;
use super::wire::Section;
use domain::base::Rtype;
use domain::base::iana::Rcode;
use domain::base::name::Name;
use std::str::FromStr;
use std::time::Duration;

/// An address, as the content of a record.
const ADDRESS: &[u8] = &[192, 0, 2, 1];

/// Flags of a reply.
const AA: u16 = 0x0400;
const TC: u16 = 0x0200;

/// A reply under construction.
struct Built {
    question: Question,
    bytes: Vec<u8>,
}

fn wire(name: &str) -> Vec<u8> {
    Name::<Vec<u8>>::from_str(name).unwrap().as_slice().to_vec()
}

impl Built {
    /// A reply without records. The code is in the low bits of `flags`.
    fn new(line: &str, flags: u16) -> Self {
        let question = Question::parse(line.as_bytes(), Rtype::A).unwrap();
        let mut bytes = query::default_query(7, &question, false);
        bytes[2..4].copy_from_slice(&(0x8000 | flags).to_be_bytes());
        Self { question, bytes }
    }

    /// Appends a record. Sections must come in order.
    fn record(self, section: Section, owner: &str, rtype: Rtype, data: &[u8]) -> Self {
        self.record_of(&wire(owner), section, rtype, data)
    }

    /// Appends a record whose owner is written like this.
    fn record_of(mut self, owner: &[u8], section: Section, rtype: Rtype, data: &[u8]) -> Self {
        let record = [&rtype.to_int().to_be_bytes()[..], &[0, 1, 0, 0, 0, 60]].concat();
        self.bytes.extend(owner);
        self.bytes.extend(record);
        self.bytes
            .extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        self.bytes.extend(data);
        self.bytes[7 + 2 * section as usize] += 1;
        self
    }

    fn answer(self, owner: &str, rtype: Rtype, data: &[u8]) -> Self {
        self.record(Section::Answer, owner, rtype, data)
    }

    fn alias(self, owner: &str, target: &str) -> Self {
        self.answer(owner, Rtype::CNAME, &wire(target))
    }

    fn authority(self, owner: &str, rtype: Rtype) -> Self {
        let mut data = wire("ns.example");
        if rtype == Rtype::SOA {
            data.extend(wire("mail.example"));
            data.extend([0; 20]);
        }
        self.record(Section::Authority, owner, rtype, &data)
    }

    /// Moves the last record to the class CH.
    fn of_chaos(mut self, data: &[u8]) -> Self {
        let class = self.bytes.len() - data.len() - 2 - 4 - 1;
        self.bytes[class] = 3;
        self
    }

    fn judged(&self) -> Reply {
        message::judge(&self.bytes, &self.question, Spelling::Any)
    }

    /// Checks the status, and the records as a line of text.
    #[track_caller]
    fn is(&self, status: Status, records: &str) {
        assert_eq!(self.judged(), Reply::Answer(status));
        let mut text = Vec::new();
        let mut is_first = true;
        self.as_answer(status).write_data(&mut text, |text, rtype| {
            let gap = if is_first { "" } else { ", " };
            text.extend_from_slice(format!("{gap}{rtype} ").as_bytes());
            is_first = false;
        });
        assert_eq!(String::from_utf8(text).unwrap(), records);
    }

    fn as_answer(&self, status: Status) -> Answer {
        Answer {
            status,
            qtype: self.question.qtype(),
            subject: Subject::Reply(self.bytes.clone().into()),
            server: None,
            transport: None,
            subnet: None,
            last_reply: None,
            attempts: 1,
            round_trip: None,
            wait: Duration::ZERO,
            time: Duration::ZERO,
            wildcard: None,
            ended_at: Duration::ZERO,
        }
    }

    fn malformed(&self) -> Vec<(&'static str, Option<Rtype>)> {
        let malformed = self.as_answer(Status::NoError).malformed();
        let named = |Malformed { section, rtype }| (section.name(), rtype);
        malformed.into_iter().map(named).collect()
    }
}

#[test]
fn valid_records_are_kept_and_malformed_ones_reported() {
    let reply = Built::new("a.example", 0)
        .answer("a.example", Rtype::A, &[192, 0, 2])
        .answer("a.example", Rtype::A, ADDRESS)
        .record(Section::Authority, "example", Rtype::NS, &[9, b'n'])
        .record(Section::Additional, "ns.example", Rtype::AAAA, ADDRESS);
    reply.is(Status::NoError, "A 192.0.2.1");
    assert_eq!(
        reply.malformed(),
        [
            ("answer", Some(Rtype::A)),
            ("authority", Some(Rtype::NS)),
            ("additional", Some(Rtype::AAAA))
        ]
    );
    assert_eq!(reply.as_answer(Status::NoError).authorities(), []);
    assert_eq!(reply.as_answer(Status::NoError).additionals(), []);
}

#[test]
fn an_answer_of_which_nothing_can_be_read_is_malformed() {
    let short = Built::new("a.example", AA).answer("a.example", Rtype::A, &[192, 0, 2]);
    assert_eq!(short.judged(), Reply::Malformed);
    let name_beyond_the_end = [0xcf, 0xff];
    let alias = Built::new("a.example", AA).answer("a.example", Rtype::CNAME, &name_beyond_the_end);
    assert_eq!(alias.judged(), Reply::Malformed);
    // Records of other names do not count.
    let foreign = Built::new("a.example", AA)
        .answer("b.example", Rtype::A, ADDRESS)
        .answer("a.example", Rtype::A, &[]);
    assert_eq!(foreign.judged(), Reply::Malformed);
    let of_another = Built::new("a.example", AA).answer("b.example", Rtype::A, &[]);
    of_another.is(Status::NoData, "");
}

#[test]
fn what_follows_a_record_without_an_owner_is_kept() {
    let beyond_the_end = [0xcf, 0xff];
    let reply = Built::new("a.example", 0)
        .record_of(&beyond_the_end, Section::Answer, Rtype::A, ADDRESS)
        .alias("a.example", "b.example")
        .answer("b.example", Rtype::A, ADDRESS)
        .record_of(&beyond_the_end, Section::Additional, Rtype::A, ADDRESS);
    reply.is(Status::NoError, "CNAME b.example., A 192.0.2.1");
    assert_eq!(reply.malformed(), [("answer", None), ("additional", None)]);
    // If a label has a reserved type, the end of the record is unknown.
    let reserved = Built::new("a.example", 0)
        .answer("a.example", Rtype::A, ADDRESS)
        .record_of(&[0x40, 0], Section::Answer, Rtype::A, ADDRESS)
        .answer("a.example", Rtype::A, ADDRESS);
    reserved.is(Status::NoError, "A 192.0.2.1");
    assert_eq!(reserved.malformed(), [("answer", None)]);
}

#[test]
fn names_may_be_compressed() {
    let (question, other) = ([0xc0, 12], [0xc0, 14]);
    let reply = Built::new("a.example", 0)
        .record_of(&other, Section::Answer, Rtype::A, &[192, 0, 2, 6])
        .record_of(&question, Section::Answer, Rtype::TXT, b"\x01a")
        .record_of(&question, Section::Answer, Rtype::A, ADDRESS);
    reply.is(Status::NoError, "A 192.0.2.1");
    let chaos = Built::new("a.example", AA)
        .record_of(&question, Section::Answer, Rtype::A, ADDRESS)
        .of_chaos(ADDRESS);
    chaos.is(Status::NoData, "");
}

/// Wherever a reply is cut off: no panic, whole records are kept, and it is never taken for one without
/// records.
#[test]
fn a_reply_that_is_cut_off() {
    let whole = Built::new("a.example", 0)
        .alias("a.example", "b.example")
        .answer("b.example", Rtype::A, ADDRESS)
        .authority("example", Rtype::NS);
    whole.is(Status::NoError, "CNAME b.example., A 192.0.2.1");
    assert_eq!(whole.malformed(), []);
    let records_at = 12 + whole.question.name().len() + 4;
    for len in 0..whole.bytes.len() {
        let cut = |flags| {
            let mut cut = Built::new("a.example", flags);
            let flags = cut.bytes[2..4].to_vec();
            cut.bytes = whole.bytes[..len].to_vec();
            if len >= 4 {
                cut.bytes[2..4].copy_from_slice(&flags);
            }
            cut
        };
        let [plain, truncated] = [0, TC].map(|flags| cut(flags).judged());
        if len < records_at {
            assert_eq!([plain, truncated], [Reply::Foreign; 2], "{len}");
            continue;
        }
        assert_eq!(truncated, Reply::Truncated, "{len}");
        let is_answer = plain == Reply::Answer(Status::NoError);
        assert!(is_answer || plain == Reply::Malformed, "{len}: {plain:?}");
        let malformed = cut(0).malformed();
        assert!(matches!(malformed[..], [(_, None)]), "{len}: {malformed:?}");
    }
}

#[test]
fn records_that_do_not_belong_are_not_data() {
    let other_owner = Built::new("a.example", AA).answer("b.example", Rtype::A, ADDRESS);
    other_owner.is(Status::NoData, "");
    let above = Built::new("a.example", AA).answer("example", Rtype::A, ADDRESS);
    above.is(Status::NoData, "");
    let other_class = Built::new("a.example", AA)
        .answer("a.example", Rtype::A, ADDRESS)
        .of_chaos(ADDRESS);
    other_class.is(Status::NoData, "");
    let other_type = Built::new("a.example", AA).answer("a.example", Rtype::TXT, b"\x01a");
    other_type.is(Status::NoData, "");
    let mixed = Built::new("a.example", AA)
        .answer("evil.example", Rtype::A, &[192, 0, 2, 6])
        .alias("evil.example", "a.example")
        .answer("A.Example", Rtype::A, ADDRESS);
    mixed.is(Status::NoError, "A 192.0.2.1");
}

#[test]
fn aliases_are_followed_in_any_order() {
    let names = ["a.example", "b.example", "c.test", "d.test"];
    let records = |order: [usize; 4]| {
        order
            .into_iter()
            .fold(Built::new("A.example", 0), |reply, at| match at {
                3 => reply.answer("d.test", Rtype::A, ADDRESS),
                _ => reply.alias(names[at], names[at + 1]),
            })
    };
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
        let reply = records(order);
        assert_eq!(reply.judged(), Reply::Answer(Status::NoError));
        let records = reply.as_answer(Status::NoError).records();
        assert_eq!(records.len(), 4, "{order:?}");
    }
}

#[test]
fn aliases_that_lead_to_nothing_are_printed() {
    let soa = Built::new("a.example", AA)
        .alias("a.example", "b.example")
        .authority("example", Rtype::SOA);
    soa.is(Status::NoError, "CNAME b.example.");
    let referral = Built::new("a.example", 0)
        .alias("a.example", "b.sub.example")
        .authority("sub.example", Rtype::NS);
    referral.is(Status::NoError, "CNAME b.sub.example.");
    let circle = Built::new("a.example", AA)
        .alias("a.example", "b.example")
        .alias("b.example", "a.example");
    circle.is(Status::NoError, "CNAME b.example., CNAME a.example.");
    let itself = Built::new("a.example", AA).alias("a.example", "a.example");
    itself.is(Status::NoError, "CNAME a.example.");
}

/// In any number and order.
#[test]
fn endless_aliases_end() {
    let name = |number: usize| format!("n{number}.example");
    for is_reversed in [false, true] {
        let mut numbers: Vec<usize> = (0..250).collect();
        if is_reversed {
            numbers.reverse();
        }
        let reply = Built::new("n0.example", 0);
        let reply = numbers.into_iter().fold(reply, |reply, number| {
            reply.alias(&name(number), &name(number + 1))
        });
        assert_eq!(reply.judged(), Reply::Answer(Status::NoError));
        assert!(reply.as_answer(Status::NoError).records().len() >= 32);
    }
}

#[test]
fn a_dname_belongs_if_it_makes_the_alias() {
    let dname = |owner: &str, target: &str| {
        Built::new("x.y.old.example", AA)
            .answer(owner, Rtype::DNAME, &wire(target))
            .alias("x.y.old.example", "x.y.new.test")
            .answer("x.y.new.test", Rtype::A, ADDRESS)
    };
    let rest = "CNAME x.y.new.test., A 192.0.2.1";
    let made_it = format!("DNAME new.test., {rest}");
    dname("old.example", "new.test").is(Status::NoError, &made_it);
    dname("OLD.example", "New.test").is(
        Status::NoError,
        &made_it.replace("new.test., C", "New.test., C"),
    );
    dname("old.example", "other.test").is(Status::NoError, rest);
    dname("older.example", "new.test").is(Status::NoError, rest);
    dname("x.y.old.example", "x.y.new.test").is(Status::NoError, rest);
    let alone =
        Built::new("x.old.example", AA).answer("old.example", Rtype::DNAME, &wire("new.test"));
    alone.is(Status::NoData, "");
    let asked =
        Built::new("old.example DNAME", AA).answer("old.example", Rtype::DNAME, &wire("new.test"));
    asked.is(Status::NoError, "DNAME new.test.");
}

/// A signature covers a type, which is the first part of its content.
fn signature(covered: Rtype) -> Vec<u8> {
    let times = [[0; 4]; 3].concat();
    let head = [&covered.to_int().to_be_bytes()[..], &[13, 2]].concat();
    [head, times, vec![0, 1], wire("example"), vec![0; 64]].concat()
}

#[test]
fn signatures_and_all_types() {
    let reply = |line: &str| {
        Built::new(line, AA)
            .answer("a.example", Rtype::A, ADDRESS)
            .answer("a.example", Rtype::RRSIG, &signature(Rtype::A))
            .answer("a.example", Rtype::TXT, b"\x01a")
            .answer("b.example", Rtype::RRSIG, &signature(Rtype::A))
            .answer("example", Rtype::RRSIG, &signature(Rtype::SOA))
    };
    let types = |line: &str| {
        let reply = reply(line);
        assert_eq!(reply.judged(), Reply::Answer(Status::NoError), "{line}");
        let records = reply.as_answer(Status::NoError).records();
        records
            .into_iter()
            .map(|record| record.rtype)
            .collect::<Vec<_>>()
    };
    assert_eq!(types("a.example ANY"), [Rtype::A, Rtype::RRSIG, Rtype::TXT]);
    assert_eq!(types("a.example A"), [Rtype::A, Rtype::RRSIG]);
    assert_eq!(types("a.example RRSIG"), [Rtype::RRSIG]);
    let signed = reply("a.example MX").judged();
    assert_eq!(signed, Reply::Answer(Status::NoData));
    let dname = Built::new("x.old.example", AA)
        .answer("old.example", Rtype::DNAME, &wire("new.test"))
        .answer("old.example", Rtype::RRSIG, &signature(Rtype::DNAME))
        .alias("x.old.example", "x.new.test");
    let records = dname.as_answer(Status::NoError).records();
    assert_eq!(records.len(), 3);
}

/// RFC 2308, 2.2.
#[test]
fn no_data_is_told_from_referrals() {
    let new = |flags| Built::new("a.sub.example", flags);
    new(0).is(Status::NoData, "");
    new(AA).is(Status::NoData, "");
    new(0)
        .authority("example", Rtype::SOA)
        .is(Status::NoData, "");
    new(0)
        .authority("sub.example", Rtype::NS)
        .is(Status::Referral, "");
    new(0)
        .authority("a.sub.example", Rtype::NS)
        .is(Status::Referral, "");
    new(0).authority(".", Rtype::NS).is(Status::Referral, "");
    new(AA)
        .authority("sub.example", Rtype::NS)
        .is(Status::NoData, "");
    new(0)
        .authority("other.example", Rtype::NS)
        .is(Status::NoData, "");
    new(0)
        .authority("example", Rtype::NS)
        .authority("example", Rtype::SOA)
        .is(Status::NoData, "");
    new(0)
        .authority("sub.example", Rtype::NS)
        .authority("other", Rtype::SOA)
        .is(Status::Referral, "");
    let forged = new(0).answer("b.example", Rtype::A, ADDRESS);
    forged
        .authority("sub.example", Rtype::NS)
        .is(Status::Referral, "");
    let missing = new(3).authority("sub.example", Rtype::NS);
    assert_eq!(missing.judged(), Reply::Answer(Status::NxDomain));
}

/// A failure may come without the question, whatever else it contains; an answer may not.
#[test]
fn a_failure_may_come_without_its_question() {
    for rcode in [1_u8, 2, 4, 5, 16] {
        let question = Question::parse(b"a.example", Rtype::A).unwrap();
        let bytes = [0, 7, 0x80, rcode & 15, 0, 0, 0, 0, 0, 0, 0, 0];
        let judged = message::judge(&bytes, &question, Spelling::Exact);
        match rcode & 15 {
            0 => assert_eq!(judged, Reply::Foreign),
            rcode => assert_eq!(judged, Reply::Failure(Rcode::masked_from_int(rcode).into())),
        }
    }
}
