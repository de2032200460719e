//! Compression functions of several messages at once.

pub(super) type Block = [u8; 64];

/// A compression function, for any number of messages.
pub(super) trait Compress<const WORDS: usize>: Copy {
    /// The states of the messages after these blocks; each message has the same number of blocks.
    fn compress<const L: usize>(
        self,
        states: [[u32; WORDS]; L],
        blocks: [&[Block]; L],
    ) -> [[u32; WORDS]; L];
}
