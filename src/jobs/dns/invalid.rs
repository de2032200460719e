//! Why a line is not a question.

/// The reason why a line is not a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The line has no name.
    #[error("no name")]
    Empty,
    /// The line has more than a name and a type.
    #[error("more than a name and a type")]
    TooMuch,
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// The name is not valid by the rules of DNS or IDNA.
    #[error("not a domain name")]
    Name,
    /// An address and a slash are not followed by a valid prefix length.
    #[error("not a prefix length")]
    PrefixLength,
    /// There is no type of this name.
    #[error("unknown type of record")]
    Type,
}
