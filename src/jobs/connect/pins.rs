//! Addresses that the user gives for names with a port, instead of a lookup.

use super::endpoint::parse_port;
use crate::jobs::dns::Question;
use domain::base::Rtype;
use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;

/// The addresses for one name with a port.
#[derive(Clone, Debug)]
pub struct Pin {
    name: Question,
    port: u16,
    addresses: Vec<IpAddr>,
}

impl FromStr for Pin {
    type Err = String;

    /// Reads `HOST:PORT:ADDR`, with more addresses after commas; IPv6 addresses may be in brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(host), Some(port), Some(addresses)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err("not HOST:PORT:ADDRESS".to_owned());
        };
        let name = Question::parse(host.as_bytes(), Rtype::A)
            .map_err(|_| format!("not a name: {host}"))?;
        let port = parse_port(port).map_err(|invalid| invalid.to_string())?;
        let addresses = addresses.split(',').map(|address| {
            let bare = address
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            let parsed = bare.unwrap_or(address).parse();
            parsed.map_err(|_| format!("not an IP address: {address}"))
        });
        Ok(Self {
            name,
            port,
            addresses: addresses.collect::<Result<_, _>>()?,
        })
    }
}

/// Names with their ports and addresses.
#[derive(Clone, Debug, Default)]
pub struct Pins(HashMap<(Question, u16), Vec<IpAddr>>);

impl Pins {
    /// The addresses of a name with this port, if they were given. The name is a question for A records.
    pub(super) fn addresses(&self, name: &Question, port: u16) -> Option<&[IpAddr]> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(name.clone(), port)).map(Vec::as_slice)
    }
}

impl FromIterator<Pin> for Pins {
    /// The last pin of a name counts.
    fn from_iter<I: IntoIterator<Item = Pin>>(pins: I) -> Self {
        let entries = pins
            .into_iter()
            .map(|pin| ((pin.name, pin.port), pin.addresses));
        Self(entries.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins() {
        let pins = [
            "A.example:80:127.0.0.1",
            "b.example:443:[::1],127.0.0.1",
            "a.example:81:::1",
        ];
        let pins: Pins = pins
            .iter()
            .map(|text| text.parse::<Pin>().unwrap())
            .collect();
        let addresses = |name: &str, port| {
            let name = Question::parse(name.as_bytes(), Rtype::A).unwrap();
            let addresses = pins.addresses(&name, port)?;
            Some(
                addresses
                    .iter()
                    .map(IpAddr::to_string)
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        };
        assert_eq!(addresses("a.example", 80).as_deref(), Some("127.0.0.1"));
        assert_eq!(addresses("a.example", 81).as_deref(), Some("::1"));
        assert_eq!(
            addresses("B.example", 443).as_deref(),
            Some("::1 127.0.0.1")
        );
        assert_eq!(addresses("a.example", 443), None);
        for text in [
            "",
            "a.example",
            "a.example:80",
            "a.example:80:",
            "a.example:0:::1",
            "a..b:80:::1",
            "a.example:80:x",
        ] {
            assert!(text.parse::<Pin>().is_err(), "{text}");
        }
    }
}
