//! The content of further common record types as text, written without the formatting machinery.

use super::labels::write_labels;
use domain::base::Rtype;
use domain::base::name::{ParsedName, ToLabelIter};
use domain::base::record::ParsedRecord;
use domain::rdata::{Aaaa, Ns, Soa};
use std::io::Write;

/// Appends the content of a record; `None` if it is of another type, or does not match its type.
pub(super) fn write_data(out: &mut Vec<u8>, record: &ParsedRecord<'_, [u8]>) -> Option<()> {
    match record.rtype() {
        Rtype::AAAA => {
            let address = record.to_record::<Aaaa>().ok()??.data().addr();
            write!(out, "{address}").expect("memory can be written to");
        }
        Rtype::NS => {
            let ns = record.to_record::<Ns<ParsedName<_>>>().ok()??;
            write_name(out, ns.data().nsdname());
        }
        Rtype::SOA => {
            let soa = record.to_record::<Soa<ParsedName<_>>>().ok()??;
            let soa = soa.data();
            write_name(out, soa.mname());
            out.push(b' ');
            write_name(out, soa.rname());
            let times = [soa.refresh(), soa.retry(), soa.expire(), soa.minimum()];
            let numbers = times.map(|time| time.as_secs());
            let mut digits = itoa::Buffer::new();
            for number in [soa.serial().into_int()].into_iter().chain(numbers) {
                out.push(b' ');
                out.extend_from_slice(digits.format(number).as_bytes());
            }
        }
        _ => return None,
    }
    Some(())
}

fn write_name(out: &mut Vec<u8>, name: &impl ToLabelIter) {
    write_labels(out, name.iter_labels().filter(|label| !label.is_root()));
    out.push(b'.');
}
