//! The addresses of names in hosts(5), which come before DNS.

use crate::jobs::dns::Question;
use domain::base::Rtype;
use std::collections::HashMap;
use std::net::IpAddr;

/// Where the system keeps it.
pub const HOSTS: &str = "/etc/hosts";

/// Names with their addresses, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Hosts(HashMap<Question, Vec<IpAddr>>);

impl Hosts {
    /// Reads the text of a hosts(5). Lines that are not understood are ignored, as the system does.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut hosts = Self::default();
        for line in text.split(|&byte| byte == b'\n') {
            let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
            let Ok(line) = std::str::from_utf8(line) else {
                continue;
            };
            let mut words = line.split_ascii_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse) else {
                continue;
            };
            for name in words {
                if let Ok(name) = Question::parse(name.as_bytes(), Rtype::A) {
                    hosts.add(name, address);
                }
            }
        }
        hosts
    }

    fn add(&mut self, name: Question, address: IpAddr) {
        let addresses = self.0.entry(name).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }

    /// The addresses of a name, if it is in the file. The name is a question for A records.
    #[must_use]
    pub fn addresses(&self, name: &Question) -> Option<&[IpAddr]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file() {
        let text = b"# comment\n127.0.0.1\tlocalhost loop # other\n::1 LOCALHOST\nnonsense here\n\
                     192.0.2.1\n\xff\xff\n127.0.0.1 localhost\r\n";
        let hosts = Hosts::parse(text);
        let addresses = |name: &str| {
            let name = Question::parse(name.as_bytes(), Rtype::A).unwrap();
            hosts
                .addresses(&name)
                .map(|them| them.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(addresses("Localhost").unwrap(), ["127.0.0.1", "::1"]);
        assert_eq!(addresses("loop").unwrap(), ["127.0.0.1"]);
        assert_eq!(addresses("other"), None);
        assert_eq!(addresses("here"), None);
    }
}
