//! Records in zone-file format. Addresses and names of plain letters, of which most records consist, are
//! written without the formatting machinery of the standard library, which takes ten times as long.

use super::common;
use super::labels::write_labels;
use super::presentation;
use domain::base::Rtype;
use domain::base::name::{ParsedName, ToLabelIter};
use domain::base::rdata::UnknownRecordData;
use domain::base::record::ParsedRecord;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
use domain::rdata::{A, AllRecordData, Cname};
use std::io::Write;
use std::net::Ipv4Addr;

/// Appends the content of a record; in the form for unknown types (RFC 3597) if it does not match its
/// type.
pub(super) fn write_data(out: &mut Vec<u8>, record: &ParsedRecord<'_, [u8]>) {
    let is_written = match record.rtype() {
        Rtype::A => write_address(out, record),
        Rtype::CNAME => write_alias(out, record),
        rtype if presentation::writes(rtype) => {
            let start = out.len();
            let is_written = presentation::write(out, record);
            if is_written.is_none() {
                out.truncate(start);
                write_unknown(out, record);
            }
            return;
        }
        _ => common::write_data(out, record),
    };
    if is_written.is_none() {
        write_any(out, record);
    }
}

fn write_address(out: &mut Vec<u8>, record: &ParsedRecord<'_, [u8]>) -> Option<()> {
    write_ipv4(out, record.to_record::<A>().ok()??.data().addr());
    Some(())
}

/// Appends an address. The formatting machinery takes ten times as long.
pub fn write_ipv4(out: &mut Vec<u8>, address: Ipv4Addr) {
    let mut text = [0; "255.255.255.255.".len()];
    let mut len = 0;
    let mut push = |byte| {
        text[len] = byte;
        len += 1;
    };
    for octet in address.octets() {
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
        push(b'.');
    }
    out.extend_from_slice(&text[..len - 1]);
}

fn write_alias(out: &mut Vec<u8>, record: &ParsedRecord<'_, [u8]>) -> Option<()> {
    let alias = record.to_record::<Cname<ParsedName<_>>>().ok()??;
    let labels = alias.data().cname().iter_labels();
    write_labels(out, labels.filter(|label| !label.is_root()));
    out.push(b'.');
    Some(())
}

fn write_any(out: &mut Vec<u8>, record: &ParsedRecord<'_, [u8]>) {
    let known = record.to_any_record::<AllRecordData<_, ParsedName<_>>>();
    if let Ok(known) = known {
        let text = known.data().display_zonefile(DisplayKind::Simple);
        write!(out, "{text}").expect("memory can be written to");
    } else {
        write_unknown(out, record);
    }
}

fn write_unknown(out: &mut Vec<u8>, record: &ParsedRecord<'_, [u8]>) {
    if let Ok(Some(unknown)) = record.to_record::<UnknownRecordData<_>>() {
        let text = unknown.data().display_zonefile(DisplayKind::Simple);
        write!(out, "{text}").expect("memory can be written to");
    }
}

/// A name, without a trailing dot.
pub(super) fn name(name: &impl ToLabelIter) -> String {
    let mut text = Vec::with_capacity(name.compose_len().into());
    write_labels(
        &mut text,
        name.iter_labels().filter(|label| !label.is_root()),
    );
    into_string(text)
}

/// The text that was written here.
pub(super) fn into_string(text: Vec<u8>) -> String {
    String::from_utf8(text).expect("it was written from text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::message::Message;
    use domain::base::message_builder::MessageBuilder;
    use domain::base::name::{Name, NameBuilder};
    use domain::base::{Record, Ttl};
    use domain::rdata::{Aaaa, Ns, Soa};
    use proptest::prelude::*;

    /// A message with one record, whose owner is that name.
    fn message<D: domain::base::rdata::ComposeRecordData>(
        owner: &Name<Vec<u8>>,
        data: D,
    ) -> Vec<u8> {
        let mut answer = MessageBuilder::new_vec().answer();
        let record = Record::new(owner, domain::base::iana::Class::IN, Ttl::ZERO, data);
        answer.push(record).unwrap();
        answer.finish()
    }

    fn first(message: &[u8]) -> ParsedRecord<'_, [u8]> {
        let message = Message::from_slice(message).unwrap();
        message.answer().unwrap().next().unwrap().unwrap()
    }

    fn any_name() -> impl Strategy<Value = Name<Vec<u8>>> {
        let label = proptest::collection::vec(any::<u8>(), 1..20);
        proptest::collection::vec(label, 0..5).prop_map(|labels| {
            let mut builder = NameBuilder::new_vec();
            for label in labels {
                builder.append_label(&label).unwrap();
            }
            builder.into_name().unwrap()
        })
    }

    proptest! {
        /// The fast paths write the same as the slow one.
        #[test]
        fn as_the_library_has_it(owner in any_name(), alias in any_name(), address in any::<[u8; 4]>()) {
            let as_alias = message(&owner, Cname::new(&alias));
            let as_address = message(&owner, A::new(address.into()));
            let as_v6 = message(&owner, Aaaa::new(u128::from(u32::from_be_bytes(address)).into()));
            let as_server = message(&owner, Ns::new(&alias));
            let [serial, time, ..] = address.map(u32::from);
            let [time, longer] = [time, u32::MAX - time].map(Ttl::from_secs);
            let soa = Soa::new(&owner, &alias, serial.into(), time, longer, time, longer);
            let as_authority = message(&owner, soa);
            for message in [as_alias, as_address, as_v6, as_server, as_authority] {
                let record = first(&message);
                let (mut quick, mut slow) = (Vec::new(), Vec::new());
                write_data(&mut quick, &record);
                write_any(&mut slow, &record);
                prop_assert_eq!(into_string(quick), into_string(slow));
                prop_assert_eq!(name(&record.owner()), record.owner().to_string());
            }
        }
    }

    #[test]
    fn malformed_content_is_written_as_unknown() {
        let mut message = message(&Name::root_vec(), A::from_octets(1, 2, 3, 4));
        message.pop();
        let length = message.len() - 5;
        message[length..length + 2].copy_from_slice(&[0, 3]);
        let mut text = Vec::new();
        write_data(&mut text, &first(&message));
        assert_eq!(into_string(text), "\\# 3 01 02 03");
    }

    /// The content of a record, in hexadecimal digits, and its text. The vectors for SVCB are those of
    /// RFC 9460, appendix D, unquoted.
    #[test]
    fn other_contents_as_zone_files_have_them() {
        let hex = |text: &str| -> Vec<u8> {
            let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
            digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
        };
        let (foo, root) = ("03666f6f 076578616d706c65 03636f6d 00", "00");
        let foo_org = "03666f6f 076578616d706c65 036f7267 00";
        let h1 = "2001:db8::1,2001:db8::53:1";
        let v6 = "20010db8000000000000000000000001 20010db8000000000000000000530001";
        let h2 = "2001:db8:122:344::192.0.2.33"
            .parse::<std::net::Ipv6Addr>()
            .unwrap();
        for (rtype, data, text) in [
            (
                Rtype::HTTPS,
                format!("0000 {foo}"),
                "0 foo.example.com.".into(),
            ),
            (Rtype::SVCB, format!("0001 {root}"), "1 .".into()),
            (
                Rtype::SVCB,
                format!("0010 {foo} 0003 0002 0035"),
                "16 foo.example.com. port=53".into(),
            ),
            (
                Rtype::SVCB,
                format!("0001 {foo} 029b 0005 68656c6c6f"),
                "1 foo.example.com. key667=hello".to_owned(),
            ),
            (
                Rtype::SVCB,
                format!("0001 {foo} 029b 0009 68656c6c6fd2716f6f"),
                r"1 foo.example.com. key667=hello\210qoo".into(),
            ),
            (
                Rtype::SVCB,
                format!("0001 {foo} 0006 0020 {v6}"),
                format!("1 foo.example.com. ipv6hint={h1}"),
            ),
            (
                Rtype::SVCB,
                format!("0001 {foo} 0006 0010 20010db8012203440000 0000c0000221"),
                format!("1 foo.example.com. ipv6hint={h2}"),
            ),
            (
                Rtype::SVCB,
                format!(
                    "0010 {foo_org} 0000 0004 00010004 0001 0009 02683205 68332d3139 0004 0004 c0000201"
                ),
                "16 foo.example.org. mandatory=alpn,ipv4hint alpn=h2,h3-19 ipv4hint=192.0.2.1"
                    .into(),
            ),
            (
                Rtype::SVCB,
                format!("0010 {foo_org} 0001 000c 08665c6f6f2c626172 026832"),
                r"16 foo.example.org. alpn=f\\\\oo\\,bar,h2".into(),
            ),
            // A value that is not valid for its key; keys without a value.
            (
                Rtype::HTTPS,
                format!("0001 {root} 0001 0003 026832 0002 0000 0003 0001 35 0005 0000 0008 0000"),
                "1 . alpn=h2 no-default-alpn key3=5 key5 ohttp".into(),
            ),
            (
                Rtype::HTTPS,
                format!("0001 {root} 0005 0003 616263 0007 0007 2f7b3f2022647d"),
                r#"1 . ech=YWJj dohpath=/{?\ \"d}"#.into(),
            ),
            (
                Rtype::URI,
                "000a 0001 6674703a2f2f6122".into(),
                r#"10 1 "ftp://a\"""#.into(),
            ),
            (
                Rtype::EUI48,
                "00005e00532a".into(),
                "00-00-5e-00-53-2a".into(),
            ),
            (
                Rtype::EUI64,
                "00005eef1000002a".into(),
                "00-00-5e-ef-10-00-00-2a".into(),
            ),
            (Rtype::SPF, "03 763d31 01 22".into(), r#""v=1" "\"""#.into()),
            (
                Rtype::CERT,
                "0003 0000 00 616263".into(),
                "3 0 0 YWJj".into(),
            ),
            (
                Rtype::SMIMEA,
                "03 00 01 d2abde".into(),
                "3 0 1 d2abde".into(),
            ),
            (
                Rtype::IPSECKEY,
                "0a 00 02 616263".into(),
                "10 0 2 . YWJj".into(),
            ),
            (
                Rtype::IPSECKEY,
                "0a 01 02 c0000201 616263".into(),
                "10 1 2 192.0.2.1 YWJj".into(),
            ),
            (
                Rtype::LOC,
                "00 33 16 13 89 17 2d d0 70 be 15 f0 00 98 8d 20".into(),
                "42 21 54.000 N 71 6 18.000 W -24.00m 30.00m 10000.00m 10.00m".into(),
            ),
            (
                Rtype::LOC,
                "00 12 16 13 80000001 7fffffff 00989680".into(),
                "0 0 0.001 N 0 0 0.001 W 0.00m 1.00m 10000.00m 10.00m".into(),
            ),
            (
                Rtype::RRSIG,
                format!("0001 05 03 00015180 3e79d2fe 3e5256fe 0a52 {root} 616263"),
                "A 5 3 86400 20030320144102 20030218155334 2642 . YWJj".into(),
            ),
        ] {
            let data = hex(&data);
            let record = UnknownRecordData::from_octets(rtype, data).unwrap();
            let message = message(&Name::root_vec(), record);
            let mut written = Vec::new();
            write_data(&mut written, &first(&message));
            assert_eq!(into_string(written), text, "{rtype}");
        }
    }
}
