//! Writing a header in front of a connection to a server.

use std::net::{IpAddr, Ipv6Addr};

use super::{Addresses, SIGNATURE};
use crate::config::ProxyHeader;

/// Writes the header that says whom the connection is for. Addresses of two families are both written as IPv6, the IPv4 one
/// mapped (RFC 4291 section 2.5.5.2): a header has one family. An unspecified source
/// is a connection of our own.
pub fn write(out: &mut Vec<u8>, version: ProxyHeader, addresses: Addresses) {
    let Addresses { source, destination } = addresses;
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    if from.is_unspecified() {
        // Our own connection, such as a health check: nobody is behind it (sections 2.1 and 2.2).
        match version {
            ProxyHeader::V1 => out.extend_from_slice(b"PROXY UNKNOWN\r\n"),
            ProxyHeader::V2 => out.extend_from_slice(&[&SIGNATURE[..], &[0x20, 0, 0, 0]].concat()),
        }
        return;
    }
    match (version, from, to) {
        (ProxyHeader::V1, IpAddr::V4(from), IpAddr::V4(to)) => {
            let line = format!("PROXY TCP4 {from} {to} {} {}\r\n", source.port(), destination.port());
            out.extend_from_slice(line.as_bytes());
        }
        (ProxyHeader::V1, from, to) => {
            let (from, to) = (mapped(from), mapped(to));
            let line = format!("PROXY TCP6 {from} {to} {} {}\r\n", source.port(), destination.port());
            out.extend_from_slice(line.as_bytes());
        }
        (ProxyHeader::V2, from, to) => {
            out.extend_from_slice(&SIGNATURE);
            if let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) {
                // Version 2, PROXY; TCP over IPv4; twelve bytes follow.
                out.extend_from_slice(&[0x21, 0x11, 0, 12]);
                out.extend_from_slice(&from.octets());
                out.extend_from_slice(&to.octets());
            } else {
                out.extend_from_slice(&[0x21, 0x21, 0, 36]);
                out.extend_from_slice(&mapped(from).octets());
                out.extend_from_slice(&mapped(to).octets());
            }
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
        }
    }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Parsed, read};
    use super::*;
    use proptest::prelude::*;
    use std::net::SocketAddr;

    fn canonical(address: SocketAddr) -> SocketAddr {
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    #[test]
    fn a_header_of_mixed_families_is_ipv6() {
        let addresses =
            Addresses { source: "192.0.2.1:5".parse().unwrap(), destination: "[2001:db8::1]:443".parse().unwrap() };
        let mut out = Vec::new();
        write(&mut out, ProxyHeader::V1, addresses);
        assert_eq!(out, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 5 443\r\n");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(source: SocketAddr, destination: SocketAddr, second: bool) {
            let version = if second { ProxyHeader::V2 } else { ProxyHeader::V1 };
            // Flow labels and scopes are of one machine.
            let plain = |address: SocketAddr| SocketAddr::new(address.ip(), address.port());
            let mut out = Vec::new();
            write(&mut out, version, Addresses { source: plain(source), destination: plain(destination) });
            match read(&out) {
                Ok(Parsed::Header(Some(said), length)) => {
                    prop_assert_eq!(length, out.len());
                    prop_assert_eq!(canonical(said.source), canonical(plain(source)));
                    prop_assert_eq!(canonical(said.destination), canonical(plain(destination)));
                }
                Ok(Parsed::Header(None, length)) if canonical(source).ip().is_unspecified() => {
                    prop_assert_eq!(length, out.len());
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
