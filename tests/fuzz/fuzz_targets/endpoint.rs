//! Endpoints and hosts(5): any bytes can be read. What a line without a port expands to has ports, and an endpoint
//! that is an address is written and read back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmill::jobs::connect::{Endpoint, Hosts, Invalid, Ports};
use ringmill::source::Expand;

fuzz_target!(|input: &[u8]| {
    let _hosts = Hosts::parse(input);
    let ports = Ports::new(vec![1, 65535]);
    if let Some(items) = ports.expand(input) {
        let items: Vec<_> = items.collect();
        assert_eq!(items.len(), 2);
        for item in items {
            assert_ne!(Endpoint::parse(&item), Err(Invalid::NoPort));
        }
    }
    if let Ok(Endpoint::Address(address)) = Endpoint::parse(input) {
        assert_ne!(address.port(), 0);
        let again = Endpoint::parse(address.to_string().as_bytes());
        assert_eq!(again, Ok(Endpoint::Address(address)));
    }
});
