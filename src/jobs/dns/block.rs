//! Blocks of addresses: `192.0.2.0/24` (RFC 4632), `2001:db8::/120` (RFC 4291, 2.3).

use super::invalid::Invalid;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// All addresses of a block, in order. They are generated one by one: a block may have 2^128 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A block of IPv4 addresses.
    V4(RangeInclusive<u32>),
    /// A block of IPv6 addresses.
    V6(RangeInclusive<u128>),
}

impl Block {
    /// Reads `ADDRESS/LENGTH`. Bits of the address after the prefix are ignored. `None` if there is no
    /// address before a slash.
    ///
    /// # Errors
    /// If an address and a slash are not followed by a valid prefix length.
    #[must_use]
    pub fn parse(text: &str) -> Option<Result<Self, Invalid>> {
        let (address, len) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let block = prefix_len(len).and_then(|len| Self::around(address, len));
        Some(block.ok_or(Invalid::PrefixLength))
    }

    /// The block that an address belongs to, if there are prefixes of that length.
    fn around(address: IpAddr, prefix_len: u32) -> Option<Self> {
        match address {
            IpAddr::V4(address) => {
                let hosts = below(u32::BITS, prefix_len, u32::MAX.checked_shr(prefix_len))?;
                let first = address.to_bits() & !hosts;
                Some(Self::V4(first..=first | hosts))
            }
            IpAddr::V6(address) => {
                let hosts = below(u128::BITS, prefix_len, u128::MAX.checked_shr(prefix_len))?;
                let first = address.to_bits() & !hosts;
                Some(Self::V6(first..=first | hosts))
            }
        }
    }
}

/// The bits after a prefix; there are none if it is as long as an address.
fn below<T: Default>(bits: u32, prefix_len: u32, shifted: Option<T>) -> Option<T> {
    (prefix_len <= bits).then(|| shifted.unwrap_or_default())
}

fn prefix_len(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

impl Iterator for Block {
    type Item = IpAddr;

    fn next(&mut self) -> Option<IpAddr> {
        match self {
            Self::V4(addresses) => addresses.next().map(|bits| Ipv4Addr::from(bits).into()),
            Self::V6(addresses) => addresses.next().map(|bits| Ipv6Addr::from(bits).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(text: &str) -> Block {
        Block::parse(text).expect(text).expect(text)
    }

    fn shown(addresses: impl Iterator<Item = IpAddr>) -> Vec<String> {
        addresses.map(|address| address.to_string()).collect()
    }

    #[test]
    fn the_addresses_of_a_block_in_order() {
        let four = ["192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7"];
        assert_eq!(shown(block("192.0.2.4/30")), four);
        // Any address of a network identifies it.
        assert_eq!(shown(block("192.0.2.7/30")), four);
        assert_eq!(shown(block("192.0.2.7/32")), ["192.0.2.7"]);
        let v6 = ["2001:db8::fffe", "2001:db8::ffff"];
        assert_eq!(shown(block("2001:db8::ffff/127")), v6);
        assert_eq!(shown(block("::1/128")), ["::1"]);
        assert_eq!(block("192.0.2.0/24").count(), 256);
    }

    #[test]
    fn the_largest_blocks_begin_at_once() {
        assert_eq!(shown(block("10.1.2.3/8").take(2)), ["10.0.0.0", "10.0.0.1"]);
        assert_eq!(shown(block("192.0.2.1/0").take(1)), ["0.0.0.0"]);
        assert_eq!(block("0.0.0.0/0"), Block::V4(0..=u32::MAX));
        assert_eq!(shown(block("2001:db8::/64").take(1)), ["2001:db8::"]);
        assert_eq!(block("2001:db8::/0"), Block::V6(0..=u128::MAX));
    }

    #[test]
    fn invalid_blocks() {
        for text in [
            "",
            "/",
            "192.0.2.1",
            "a/24",
            "192.0.2/24",
            "0/25.2.0.192.in-addr.arpa",
        ] {
            assert_eq!(Block::parse(text), None, "{text}");
        }
        for len in ["", "33", "129", "-1", "+8", "x", "8/8", "8 ", "99999999999"] {
            for address in ["192.0.2.0", "2001:db8::"] {
                let text = format!("{address}/{len}");
                let is_v6_only = text == "2001:db8::/33";
                let expected = (!is_v6_only).then_some(Err(Invalid::PrefixLength));
                assert_eq!(
                    Block::parse(&text).filter(Result::is_err),
                    expected,
                    "{text}"
                );
            }
        }
    }

    /// The addresses near this one with the same first bits, found by trying each.
    fn with_the_same_prefix(bits: u128, width: usize, prefix_len: usize) -> Vec<u128> {
        let digits = |bits: u128| format!("{bits:0width$b}");
        let prefix = digits(bits)[..prefix_len].to_owned();
        let size = 1 << (width - prefix_len);
        let max = u128::MAX >> (128 - width);
        let near = bits.saturating_sub(size)..=bits.saturating_add(size).min(max);
        near.filter(|bits| digits(*bits).starts_with(&prefix))
            .collect()
    }

    proptest! {
        #[test]
        fn a_block_has_the_addresses_with_its_prefix(
            v4 in prop_oneof![any::<u32>(), Just(0), Just(u32::MAX)],
            v6 in prop_oneof![any::<u128>(), Just(0), Just(u128::MAX)],
            host_bits in 0_usize..=9,
        ) {
            let (len_v4, len_v6) = (32 - host_bits, 128 - host_bits);
            let found = block(&format!("{}/{len_v4}", Ipv4Addr::from(v4)));
            let near = with_the_same_prefix(v4.into(), 32, len_v4).into_iter();
            let near = near.map(|bits| IpAddr::V4(Ipv4Addr::from(u32::try_from(bits).unwrap())));
            prop_assert_eq!(found.collect::<Vec<_>>(), near.collect::<Vec<_>>());
            let found = block(&format!("{}/{len_v6}", Ipv6Addr::from(v6)));
            let near = with_the_same_prefix(v6, 128, len_v6).into_iter();
            let near = near.map(|bits| IpAddr::V6(bits.into()));
            prop_assert_eq!(found.collect::<Vec<_>>(), near.collect::<Vec<_>>());
        }
    }
}
