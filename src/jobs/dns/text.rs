//! Records as text, the way zone files have them. What most records are made of, addresses and names
//! of plain letters, is written without the formatting machinery, which takes ten times as long.

use super::common;
use domain::base::Rtype;
use domain::base::name::{Label, ParsedName, ToLabelIter};
use domain::base::rdata::UnknownRecordData;
use domain::base::record::ParsedRecord;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
use domain::rdata::{A, AllRecordData, Cname};
use std::io::Write;

/// Appends the content of a record; in the form for unknown types (RFC 3597) if it is not what its
/// type says.
pub(super) fn write_data(out: &mut Vec<u8>, record: &ParsedRecord<'_, [u8]>) {
    let is_written = match record.rtype() {
        Rtype::A => write_address(out, record),
        Rtype::CNAME => write_alias(out, record),
        _ => common::write_data(out, record),
    };
    if is_written.is_none() {
        write_any(out, record);
    }
}

fn write_address(out: &mut Vec<u8>, record: &ParsedRecord<'_, [u8]>) -> Option<()> {
    let address = record.to_record::<A>().ok()??.data().addr();
    for (at, byte) in address.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        write_number(out, byte);
    }
    Some(())
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
    } else if let Ok(Some(unknown)) = record.to_record::<UnknownRecordData<_>>() {
        let text = unknown.data().display_zonefile(DisplayKind::Simple);
        write!(out, "{text}").expect("memory can be written to");
    }
}

/// A name, without a dot at its end.
pub(super) fn name(name: &impl ToLabelIter) -> String {
    let mut text = Vec::with_capacity(name.compose_len().into());
    write_labels(
        &mut text,
        name.iter_labels().filter(|label| !label.is_root()),
    );
    into_string(text)
}

/// What was written here.
pub(super) fn into_string(text: Vec<u8>) -> String {
    String::from_utf8(text).expect("it was written from text")
}

pub(super) fn write_labels<'a>(out: &mut Vec<u8>, labels: impl Iterator<Item = &'a Label>) {
    for (at, label) in labels.enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        if label.as_slice().iter().all(|&byte| is_plain(byte)) {
            out.extend_from_slice(label.as_slice());
        } else {
            write!(out, "{label}").expect("memory can be written to");
        }
    }
}

/// True for what stands for itself in a label.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'.' | b'\\')
}

fn write_number(out: &mut Vec<u8>, number: u8) {
    let digit = |digit| b'0' + digit;
    if number >= 100 {
        out.push(digit(number / 100));
    }
    if number >= 10 {
        out.push(digit(number / 10 % 10));
    }
    out.push(digit(number % 10));
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

    /// The message of one record, which belongs to that name.
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
        /// The quick ways write what the slow one does.
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
    fn what_does_not_keep_to_its_type_is_unknown() {
        let mut message = message(&Name::root_vec(), A::from_octets(1, 2, 3, 4));
        message.pop();
        let length = message.len() - 5;
        message[length..length + 2].copy_from_slice(&[0, 3]);
        let mut text = Vec::new();
        write_data(&mut text, &first(&message));
        assert_eq!(into_string(text), "\\# 3 01 02 03");
    }
}
