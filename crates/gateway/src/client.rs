//! From which address a request comes: that of the connection, or what a proxy in front of the gateway says.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies in front of the gateway, whose word is taken for where a request comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub(crate) const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Who sent a request that came over a connection from `peer`: the last address that is not a trusted proxy's. What
    /// stands before it in `x-forwarded-for` is whatever that client wrote.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines = headers.get_all(X_FORWARDED_FOR);
        let told: Vec<&str> = lines.iter().flat_map(|line| line.to_str().unwrap_or("?").split(',')).collect();
        let mut client = peer.to_canonical();
        for hop in told.into_iter().rev() {
            if !self.trusts(client) {
                break;
            }
            // A proxy that says what is no address hides where the request comes from: it is the one to bound then.
            let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
            client = address.to_canonical();
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_proxies_are_believed() {
        let networks = ["10.0.0.0/8", "2001:db8::/64"].map(|network| network.parse().unwrap());
        let proxies = TrustedProxies::new(networks.to_vec());
        let check = |peer: &str, lines: &[&str], expect: &str| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
            }
            let client = proxies.client(peer.parse().unwrap(), &headers);
            assert_eq!(client, expect.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        };
        check("192.0.2.7", &[], "192.0.2.7");
        check("::ffff:192.0.2.7", &[], "192.0.2.7");
        // Not a proxy: what it says is not looked at.
        check("192.0.2.7", &["198.51.100.1"], "192.0.2.7");
        check("10.1.2.3", &[], "10.1.2.3");
        check("10.1.2.3", &["198.51.100.1"], "198.51.100.1");
        check("::ffff:10.1.2.3", &["198.51.100.1"], "198.51.100.1");
        check("10.1.2.3", &["2001:db8:1::9"], "2001:db8:1::9");
        // Two proxies; and what the client made up before them.
        check("10.1.2.3", &["203.0.113.5, 198.51.100.1, 10.9.9.9"], "198.51.100.1");
        check("10.1.2.3", &["203.0.113.5", "198.51.100.1", "2001:db8::4"], "198.51.100.1");
        check("10.1.2.3", &["203.0.113.5,unknown"], "10.1.2.3");
        check("10.1.2.3", &["203.0.113.5, 10.0.0.9, \u{e9}"], "10.1.2.3");
        check("10.1.2.3", &[""], "10.1.2.3");
        check("10.1.2.3", &["10.4.4.4, 10.5.5.5"], "10.4.4.4");
    }
}
