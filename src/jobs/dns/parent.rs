//! The parent of a name; its other children are the siblings of the name.

use super::question::Question;
use domain::base::Rtype;

/// The parent of a name whose siblings are looked up, and what they are looked up for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Parent {
    /// The parent name, in wire format and lower case.
    name: Box<[u8]>,
    qtype: Rtype,
    /// The index of the server, where each name is asked of every server; otherwise 0.
    server: usize,
}

impl Parent {
    /// The parent of a question's name; `None` for the root.
    pub(super) fn of(question: &Question, server: usize) -> Option<Self> {
        let name = question.name();
        let label_len = usize::from(name[0]);
        (label_len > 0).then(|| Self {
            name: name[1 + label_len..].to_ascii_lowercase().into(),
            qtype: question.qtype(),
            server,
        })
    }

    /// The parent name, in wire format and lower case.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(name: &str) -> Parent {
        let question = Question::parse(name.as_bytes(), Rtype::A).unwrap();
        Parent::of(&question, 0).unwrap()
    }

    #[test]
    fn siblings_have_one_parent() {
        assert_eq!(parent("a.Example"), parent("b.eXample"));
        assert_ne!(parent("a.example"), parent("a.b.example"));
        assert_ne!(parent("a.example"), parent("a.example AAAA"));
        assert_eq!(parent("example").name(), b"\0");
        let root = Question::parse(b".", Rtype::A).unwrap();
        assert_eq!(Parent::of(&root, 0), None);
    }
}
