//! Parts of rows that several formats write.

use crate::jobs::dns::write_ipv4;
use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;

pub(super) fn write_displayed(out: &mut Vec<u8>, displayed: impl Display) {
    write!(out, "{displayed}").expect("memory can be written to");
}

pub(super) fn write_address(out: &mut Vec<u8>, address: SocketAddr) {
    let SocketAddr::V4(address) = address else {
        return write_displayed(out, address);
    };
    write_ipv4(out, *address.ip());
    out.push(b':');
    out.extend_from_slice(itoa::Buffer::new().format(address.port()).as_bytes());
}
