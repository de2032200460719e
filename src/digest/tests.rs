use proptest::prelude::*;

use super::{Algorithm, Digest, Hasher};

/// The message of the BLAKE3 test vectors: bytes that count from 0 to 250 repeatedly.
fn pattern(len_bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(len_bytes).collect()
}

/// Known answers for the empty message, `abc`, and a pattern of 1 MiB.
///
/// From b3sum 1.2.0, coreutils 9.1, xxhsum 0.8.1 (-H3 and -H128), and for CRC-32C the Python
/// packages crcmod 1.7 and google-crc32c, which agree.
const KNOWN: [(Algorithm, [&str; 3]); 8] = [
    (
        Algorithm::Blake3,
        [
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
            "74cb441fd087764ca9c3694da742ebe30cbeb3060a17009ca81825c7a8d10343",
        ],
    ),
    (
        Algorithm::Sha256,
        [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "631b84027d6b9e52b539c4e8373622d23032dfadc64d60af87339c9037e4f769",
        ],
    ),
    (
        Algorithm::Sha512,
        [
            "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
             47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            "67dad569eefc986a3b2424f5516d5a0284bb53d7b52d75f5ed881a6830a95765\
             ccc82bc48752fb693422579f11dc9a400561ec1885af9eeef703dbbd312d4fd0",
        ],
    ),
    (
        Algorithm::Sha1,
        [
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "a9993e364706816aba3e25717850c26c9cd0d89d",
            "c2fc4cb20f1301a6b0dd211c19e69a13925dbe40",
        ],
    ),
    (
        Algorithm::Md5,
        [
            "d41d8cd98f00b204e9800998ecf8427e",
            "900150983cd24fb0d6963f7d28e17f72",
            "8f293a2f6c19b345152f7a49bb4c643c",
        ],
    ),
    (
        Algorithm::Xxh3,
        ["2d06800538d394c2", "78af5f94892f3950", "6e0d7ac36b8c10ff"],
    ),
    (
        Algorithm::Xxh128,
        [
            "99aa06d3014798d86001c324468d497f",
            "06b05ab6733a618578af5f94892f3950",
            "53738d98098cabba6e0d7ac36b8c10ff",
        ],
    ),
    (Algorithm::Crc32c, ["00000000", "364b3fb7", "dc3e0071"]),
];

fn streamed(algorithm: Algorithm, pieces: &[&[u8]]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    for piece in pieces {
        hasher.update(piece);
    }
    hasher.finalize()
}

#[test]
fn known_answers() {
    let messages = [Vec::new(), b"abc".to_vec(), pattern(1 << 20)];
    for (algorithm, answers) in KNOWN {
        for (message, answer) in messages.iter().zip(answers) {
            let len = message.len();
            assert_eq!(
                algorithm.digest(message).to_string(),
                answer,
                "{algorithm} of {len} bytes"
            );
            assert_eq!(
                streamed(algorithm, &[message]).to_string(),
                answer,
                "{algorithm}, {len}"
            );
        }
    }
}

#[test]
fn crc32c_published_vectors() {
    // RFC 3720, appendix B.4, and the check value of CRC-32/ISCSI in the catalogue of CRCs.
    let increasing: Vec<u8> = (0..32).collect();
    let cases: [(&[u8], &str); 4] = [
        (&[0; 32], "8a9136aa"),
        (&[0xff; 32], "62a8ab43"),
        (&increasing, "46dd794e"),
        (b"123456789", "e3069283"),
    ];
    for (message, answer) in cases {
        assert_eq!(Algorithm::Crc32c.digest(message).to_string(), answer);
    }
}

#[test]
fn names_and_lengths_fit_together() {
    assert_eq!(Algorithm::default(), Algorithm::Blake3);
    for ((known, answers), algorithm) in KNOWN.into_iter().zip(Algorithm::ALL) {
        assert_eq!(known, algorithm, "KNOWN is in the order of ALL");
        assert_eq!(algorithm.name().parse(), Ok(algorithm));
        assert_eq!(algorithm.name().to_uppercase(), algorithm.tag());
        assert_eq!(algorithm.to_string(), algorithm.name());
        assert_eq!(2 * algorithm.digest_len_bytes(), answers[0].len());
        assert_eq!(
            algorithm.digest(b"").as_bytes().len(),
            algorithm.digest_len_bytes()
        );
        assert_eq!(Hasher::new(algorithm).algorithm(), algorithm);
    }
    let error = "SHA256".parse::<Algorithm>().unwrap_err();
    assert_eq!(error.to_string(), "unknown digest algorithm 'SHA256'");
}

#[test]
fn hex_is_appended_in_lower_case() {
    let mut out = b"> ".to_vec();
    Digest::new([0x00, 0x9f, 0xab, 0xff]).write_hex(&mut out);
    assert_eq!(out, b"> 009fabff");
}

#[test]
fn states_stay_small() {
    assert!(size_of::<Digest>() <= 72, "{}", size_of::<Digest>());
    assert!(size_of::<Hasher>() <= 400, "{}", size_of::<Hasher>());
}

fn any_algorithm() -> impl Strategy<Value = Algorithm> {
    proptest::sample::select(&Algorithm::ALL)
}

/// A message, with a length around the sizes at which the algorithms change their method: blocks of 64 and
/// 128 bytes, XXH3's 240 and 1024, BLAKE3's 1 KiB chunks and groups of them.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let len_bytes = prop_oneof![0_usize..300, 0_usize..5_000, 0_usize..70_000];
    (len_bytes, any::<u64>()).prop_map(|(len, seed)| {
        let mut x = seed | 1;
        let mut next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (x >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    })
}

fn cut<'m>(mut message: &'m [u8], cuts: &[prop::sample::Index]) -> Vec<&'m [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, rest) = message.split_at(cut.index(message.len() + 1));
        pieces.push(piece);
        message = rest;
    }
    pieces.push(message);
    pieces
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        algorithm in any_algorithm(),
        message in any_message(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let pieces = cut(&message, &cuts);
        prop_assert_eq!(streamed(algorithm, &pieces), algorithm.digest(&message));
    }

    #[test]
    fn a_used_hasher_is_as_good_as_new(
        algorithm in any_algorithm(),
        first in any_message(),
        second in any_message(),
        finalize in any::<bool>(),
    ) {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&first);
        if finalize {
            prop_assert_eq!(hasher.finalize_reset(), algorithm.digest(&first));
        } else {
            hasher.reset();
        }
        hasher.update(&second);
        prop_assert_eq!(hasher.finalize(), algorithm.digest(&second));
    }

    #[test]
    fn md5_agrees_with_a_second_implementation(message in any_message()) {
        // The crate in use is new and written in assembly.
        let expected: [u8; 16] = <md5_oracle::Md5 as md5_oracle::Digest>::digest(&message).into();
        prop_assert_eq!(Algorithm::Md5.digest(&message), Digest::new(expected));
    }
}
