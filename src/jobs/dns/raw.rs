//! Views of the records in a reply, for printing them without copies.

use super::answer::{self, Answer};
use super::labels::write_labels;
use super::reading::Malformed;
use super::text;
use super::wire::Section;
use domain::base::Rtype;
use domain::base::name::{Label, Name, ToLabelIter};
use domain::base::record::ParsedRecord;

/// A record in a reply. It needs no [`Record`](super::Record).
pub struct RawRecord<'a>(ParsedRecord<'a, [u8]>);

impl Answer {
    /// Appends the name that was asked for, without a trailing dot.
    pub fn write_name(&self, out: &mut Vec<u8>) {
        if let Ok(name) = Name::from_slice(self.name()) {
            write_name(out, name);
        }
    }

    /// The records of the reply, section by section, without OPT. For a record that cannot be read, its
    /// section and type; such records are not among the [records](Self::records).
    pub fn raw_records(&self) -> impl Iterator<Item = (Section, Result<RawRecord<'_>, Malformed>)> {
        let records = self.parsed_until(Section::Additional);
        records.map(|(section, record)| (section, record.map(RawRecord)))
    }
}

impl RawRecord<'_> {
    /// Its type.
    #[must_use]
    pub fn rtype(&self) -> Rtype {
        self.0.rtype()
    }

    /// Its time to live, in seconds.
    #[must_use]
    pub fn ttl_s(&self) -> u32 {
        self.0.ttl().as_secs()
    }

    /// Appends the name of its owner, without a trailing dot.
    pub fn write_name(&self, out: &mut Vec<u8>) {
        write_name(out, &self.0.owner());
    }

    /// Appends its content in zone-file format.
    pub fn write_data(&self, out: &mut Vec<u8>) {
        text::write_data(out, &self.0);
    }

    /// The concatenated bytes of its strings, if it is a TXT record.
    #[must_use]
    pub fn text(&self) -> Option<Vec<u8>> {
        answer::strings(&self.0)
    }
}

fn write_name(out: &mut Vec<u8>, name: &(impl ToLabelIter + ?Sized)) {
    let is_root = |label: &&Label| label.is_root();
    write_labels(out, name.iter_labels().filter(|label| !is_root(label)));
}
