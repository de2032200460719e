//! Random siblings of a name (names below the same parent), and the comparison of their content.

use super::answer::Answer;
use super::parent::Parent;
use super::question::Question;
use super::status::Status;
use super::text;
use super::wire::Section;
use domain::base::Rtype;
use domain::base::name::ParsedName;
use domain::base::rdata::ComposeRecordData;
use domain::base::record::ParsedRecord;
use domain::rdata::AllRecordData;

/// The length of a random label: long enough not to exist by chance.
const LABEL_LEN: usize = 16;

/// Characters of a random label: 32, so that each takes 5 bits.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The content of a name's records, except owners, times to live and signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// There are no records.
    Nothing,
    /// A digest of them.
    Records([u8; blake3::OUT_LEN]),
}

impl Content {
    /// The content of an answer; `None` if the question was not answered.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        match answer.status {
            Status::NoError => Some(Self::of_records(answer)),
            Status::NoData | Status::NxDomain => Some(Self::Nothing),
            _ => None,
        }
    }

    /// The order of records and the case of letters do not matter: the letters of a compressed name are
    /// those of the question.
    fn of_records(answer: &Answer) -> Self {
        let records = answer.parsed(Section::Answer);
        // Some servers sign each answer anew.
        let records = records.filter(|record| record.rtype() != Rtype::RRSIG);
        let mut contents: Vec<Vec<u8>> = records.map(|record| canonical(&record)).collect();
        contents.sort_unstable();
        contents.dedup();
        let mut hasher = blake3::Hasher::new();
        for content in contents {
            hasher.update(&(content.len() as u64).to_be_bytes());
            hasher.update(&content);
        }
        Self::Records(hasher.finalize().into())
    }
}

/// The type and the content of a record in canonical form (RFC 4034, 6.2).
fn canonical(record: &ParsedRecord<'_, [u8]>) -> Vec<u8> {
    let mut bytes = record.rtype().to_int().to_be_bytes().to_vec();
    match record.to_any_record::<AllRecordData<_, ParsedName<_>>>() {
        Ok(record) => {
            let composed = record.data().compose_canonical_rdata(&mut bytes);
            composed.expect("memory can be written to");
        }
        // A type that this crate reads by its own rules.
        Err(_) => text::write_data(&mut bytes, record),
    }
    bytes
}

/// A question for a random name below the same parent; `None` if such a name would be too long.
pub(super) fn sibling(parent: &Parent, qtype: Rtype) -> Option<Question> {
    let mut label = [0; LABEL_LEN];
    getrandom::fill(&mut label).expect("the kernel has random numbers");
    let label = label.map(|byte| LETTERS[usize::from(byte) % LETTERS.len()]);
    Question::below(&label, parent.name(), qtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sibling_has_the_same_parent_and_a_random_label() {
        for name in ["a.example", "example", "www.a.b.c.example"] {
            let question = Question::parse(name.as_bytes(), Rtype::TXT).unwrap();
            let parent = Parent::of(&question, 0).unwrap();
            let [one, other] = [(); 2].map(|()| sibling(&parent, Rtype::TXT).unwrap());
            assert_ne!(one, other);
            assert_eq!(Parent::of(&one, 0), Some(parent));
        }
    }

    /// The longest names leave no room.
    #[test]
    fn some_names_have_no_siblings() {
        let label = "a".repeat(63);
        for (last, has_one) in [(44, true), (45, false)] {
            let name = format!("x.{label}.{label}.{label}.{}", "b".repeat(last));
            let question = Question::parse(name.as_bytes(), Rtype::A).unwrap();
            let parent = Parent::of(&question, 0).unwrap();
            assert_eq!(sibling(&parent, Rtype::A).is_some(), has_one, "{last}");
        }
    }
}
