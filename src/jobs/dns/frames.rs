//! Messages in a stream: each is preceded by its length in two bytes (RFC 1035, 4.2.2).

/// A message as it is sent in a stream.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a message is shorter than 64 KiB");
    [&len.to_be_bytes()[..], message].concat()
}

/// Reassembles messages from the pieces of a stream.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// Bytes of messages that have been taken.
    taken: usize,
}

impl Frames {
    /// Adds a received piece.
    pub(super) fn add(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// The next message, if it is complete.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let (len, rest) = self.bytes[self.taken..].split_first_chunk::<2>()?;
        let message = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
        self.taken += 2 + message.len();
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn however_the_stream_is_cut(
            messages in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..300), 0..20),
            cuts in proptest::collection::vec(1_usize..200, 1..100),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
            let (mut frames, mut read, mut rest) = (Frames::default(), Vec::new(), &stream[..]);
            for cut in cuts.iter().cycle() {
                let (piece, later) = rest.split_at((*cut).min(rest.len()));
                frames.add(piece);
                while let Some(message) = frames.next() {
                    read.push(message.to_vec());
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(read, messages);
        }
    }
}
