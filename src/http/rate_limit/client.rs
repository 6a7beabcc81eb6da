//! Who sent a request: the peer of its connection, or, behind proxies that are trusted, whom they name.
//!
//! Proxies append the address that they see to a header. So it is read from the right, as far as the addresses are
//! those of trusted proxies: what stands further left was written by a stranger.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// Most addresses of the header that are looked at.
const MAX_HOPS: usize = 32;

/// Longest address with zone, brackets and port.
const MAX_ADDRESS: usize = 128;

/// Whom to believe about where a request came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSource {
    /// The networks of proxies whose header is believed; empty when nobody's is.
    pub trusted: Vec<IpNet>,
    /// The header in which they name their clients.
    pub header: HeaderName,
}

impl ClientSource {
    /// Returns the client that sent a request with these headers over a connection from `peer`.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut last = peer.to_canonical();
        if !contains(&self.trusted, last) {
            return last;
        }
        let lines = headers.get_all(&self.header).iter().rev();
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops.take(MAX_HOPS) {
            match address(hop) {
                // The last hop that is known is as far as anybody can tell.
                None => return last,
                Some(client) if !contains(&self.trusted, client) => return client,
                Some(proxy) => last = proxy,
            }
        }
        last
    }
}

/// Returns whether one of the networks has the address.
pub(super) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Reads one address as proxies write it: with or without brackets, port and zone. An IPv4 address in the form of
/// IPv6 is the IPv4 address that it is. Returns `None` for what is no address.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim_matches([' ', '\t']);
    if text.len() > MAX_ADDRESS {
        return None;
    }
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
                return None;
            }
            IpAddr::V6(without_zone(address)?.parse().ok()?)
        }
        None if text.bytes().filter(|byte| *byte == b':').count() > 1 => {
            IpAddr::V6(without_zone(text)?.parse().ok()?)
        }
        None => {
            let (address, port) = text.split_once(':').unwrap_or((text, "0"));
            IpAddr::V4(address.parse().ok().filter(|_| is_port(port))?)
        }
    };
    Some(address.to_canonical())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Returns the address without what follows `%`; `None` when nothing follows it.
fn without_zone(text: &str) -> Option<&str> {
    match text.split_once('%') {
        None => Some(text),
        Some((address, zone)) => (!zone.is_empty()).then_some(address),
    }
}

/// Reads a network, `10.0.0.0/8` or `2001:db8::/32`, or a single address. IPv4 addresses in the form of IPv6 are the
/// IPv4 addresses that they are, as clients are.
///
/// # Errors
/// What is wrong with it, for people.
pub fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let Ok(network) = address.or_else(|_| text.parse::<IpNet>()) else {
        return Err("want a network such as 10.0.0.0/8, or an address".to_owned());
    };
    if network.trunc() != network {
        return Err(format!(
            "the address goes on behind the prefix; the network is {}",
            network.trunc()
        ));
    }
    let mapped = match network {
        IpNet::V6(network) => network.addr().to_ipv4_mapped(),
        IpNet::V4(_) => None,
    };
    match (mapped, network.prefix_len().checked_sub(96)) {
        (Some(address), Some(prefix)) => {
            IpNet::new(address.into(), prefix).map_err(|error| error.to_string())
        }
        _ => Ok(network),
    }
}

#[cfg(test)]
mod tests;
