//! Records where they lie in a reply, for whoever prints them and keeps nothing.

use super::answer::{self, Answer};
use super::reading::{Malformed, Section};
use super::text;
use domain::base::Rtype;
use domain::base::name::{Label, Name, ToLabelIter};
use domain::base::record::ParsedRecord;

/// A record in a reply. It makes no [`Record`](super::Record).
pub struct RawRecord<'a>(ParsedRecord<'a, [u8]>);

impl Answer {
    /// Appends the name that was asked about to a text, without a dot at its end.
    pub fn write_name(&self, out: &mut Vec<u8>) {
        if let Ok(name) = Name::from_slice(self.name()) {
            write_name(out, name);
        }
    }

    /// The records of the reply, section by section, options of the protocol excepted; or, of those that are
    /// not among the [records](Self::records), what cannot be read.
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

    /// How long it may be kept, in seconds.
    #[must_use]
    pub fn ttl_s(&self) -> u32 {
        self.0.ttl().as_secs()
    }

    /// Appends the name whose it is to a text, without a dot at its end.
    pub fn write_name(&self, out: &mut Vec<u8>) {
        write_name(out, &self.0.owner());
    }

    /// Appends its content to a text, as zone files have it.
    pub fn write_data(&self, out: &mut Vec<u8>) {
        text::write_data(out, &self.0);
    }

    /// The bytes of its strings, one after another, if it is a text (TXT).
    #[must_use]
    pub fn text(&self) -> Option<Vec<u8>> {
        answer::strings(&self.0)
    }
}

fn write_name(out: &mut Vec<u8>, name: &(impl ToLabelIter + ?Sized)) {
    let is_root = |label: &&Label| label.is_root();
    text::write_labels(out, name.iter_labels().filter(|label| !is_root(label)));
}
