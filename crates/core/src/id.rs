//! What a failure counts under: an address, a network, or any text.
//!
//! The canonical text of an [`Id`] is its key in database, kernel and client output, so two
//! spellings of one address can never be banned twice. An IPv4-mapped address is its IPv4 address;
//! text that only looks like an address (`999.1.1.1`) stays raw text, as in fail2ban.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The identity of an attacker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// A single address.
    Ip(IpAddr),
    /// A network; host bits are zero and the prefix is shorter than the address.
    Net(Net),
    /// Any other text.
    Raw(String),
    /// A combined id (`tuple_…` groups); a part may have matched nothing.
    Tuple(Vec<Option<String>>),
}

/// A network in CIDR form; host bits are always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Net {
    addr: IpAddr,
    prefix: u8,
}

/// Address family, as `<family>` renders it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4: `inet4`.
    Inet4,
    /// IPv6: `inet6`.
    Inet6,
}

impl Family {
    /// `inet4` or `inet6`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Family::Inet4 => "inet4",
            Family::Inet6 => "inet6",
        }
    }
}

impl Net {
    /// The network of `addr` with `prefix` bits; `None` if the prefix is longer than the address.
    pub fn new(addr: IpAddr, prefix: u8) -> Option<Self> {
        let addr = match addr {
            IpAddr::V4(a) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(a) & mask))
            }
            IpAddr::V6(a) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(a) & mask))
            }
            _ => return None,
        };
        Some(Self { addr, prefix })
    }
    /// The first address.
    pub const fn addr(self) -> IpAddr {
        self.addr
    }
    /// Number of leading bits that are fixed.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }
    /// Whether `ip` lies in this network (never across families).
    pub fn contains(self, ip: IpAddr) -> bool {
        Net::new(ip, self.prefix).is_some_and(|n| n.addr == self.addr)
    }
    /// Whether `other` lies entirely in this network.
    pub fn contains_net(self, other: Net) -> bool {
        other.prefix >= self.prefix && self.contains(other.addr)
    }
}

impl Id {
    /// Parses as fail2ban canonicalises: surrounding brackets go, `addr/prefix` and `addr/mask`
    /// become networks (a full-length prefix a single address), mapped IPv4 becomes IPv4, and
    /// everything else is kept as raw text.
    pub fn parse(text: &str) -> Id {
        let t = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if let Some(ip) = parse_ip(t) {
            return Id::Ip(ip);
        }
        if let Some((a, m)) = t.split_once('/')
            && let Some(ip) = parse_ip(a)
            && let Some(prefix) = parse_mask(ip, m)
        {
            return Id::network(ip, prefix);
        }
        Id::Raw(text.to_owned())
    }

    /// The network of `ip` with `prefix` bits, a plain address if the prefix covers it whole.
    pub fn network(ip: IpAddr, prefix: u8) -> Id {
        let full = if ip.is_ipv4() { 32 } else { 128 };
        match Net::new(ip, prefix) {
            Some(net) if prefix < full => Id::Net(net),
            _ => Id::Ip(ip),
        }
    }

    /// The family, or `None` for text (`<family>` then renders as `None`).
    pub fn family(&self) -> Option<Family> {
        let addr = match self {
            Id::Ip(ip) => ip,
            Id::Net(net) => &net.addr,
            Id::Raw(_) | Id::Tuple(_) => return None,
        };
        Some(if addr.is_ipv4() { Family::Inet4 } else { Family::Inet6 })
    }

    /// The single address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Id::Ip(ip) => Some(*ip),
            _ => None,
        }
    }
}

/// Parses one address; IPv4-mapped becomes IPv4. Leading zeros are not an address (as inet_pton).
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    Some(canonical(text.parse::<IpAddr>().ok()?))
}

/// IPv4-mapped becomes IPv4; everything else is unchanged.
pub fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

fn parse_mask(ip: IpAddr, mask: &str) -> Option<u8> {
    if !mask.is_empty() && mask.bytes().all(|b| b.is_ascii_digit()) {
        let prefix = mask.parse::<u8>().ok()?;
        return (prefix <= if ip.is_ipv4() { 32 } else { 128 }).then_some(prefix);
    }
    match (ip, mask.parse::<IpAddr>().ok()?) {
        (IpAddr::V4(_), IpAddr::V4(m)) => {
            let m = u32::from(m);
            (m.leading_ones() + m.trailing_zeros() >= 32).then(|| m.leading_ones() as u8)
        }
        (IpAddr::V6(_), IpAddr::V6(m)) => {
            let m = u128::from(m);
            (m.leading_ones() + m.trailing_zeros() >= 128).then(|| m.leading_ones() as u8)
        }
        _ => None,
    }
}

/// Writes an address as the C library does, in which IPv4-compatible ones (`::192.0.2.1`) have dots.
fn write_ip(ip: IpAddr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match ip {
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
                write!(f, "::{}", Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
            }
            _ => write!(f, "{v6}"),
        },
        IpAddr::V4(v4) => write!(f, "{v4}"),
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_ip(self.addr, f)?;
        write!(f, "/{}", self.prefix)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Ip(ip) => write_ip(*ip, f),
            Id::Net(net) => net.fmt(f),
            Id::Raw(text) => f.write_str(text),
            Id::Tuple(parts) => {
                f.write_str("(")?;
                for (i, part) in parts.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    match part {
                        Some(part) => f.write_str(&crate::value::repr_str(part))?,
                        None => f.write_str("None")?,
                    }
                }
                f.write_str(if parts.len() == 1 { ",)" } else { ")" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_text() {
        for (input, expected, family) in [
            ("1.2.3.4", "1.2.3.4", Some("inet4")),
            ("[2001:DB8::1]", "2001:db8::1", Some("inet6")),
            ("::ffff:1.2.3.4", "1.2.3.4", Some("inet4")),
            ("::FFFF:1.2.3.4", "1.2.3.4", Some("inet4")),
            ("::1.2.3.4", "::1.2.3.4", Some("inet6")),
            ("::c000:22c", "::192.0.2.44", Some("inet6")),
            ("::1:0/112", "::0.1.0.0/112", Some("inet6")),
            ("::5", "::5", Some("inet6")),
            ("::1:0:5", "::1:0:5", Some("inet6")),
            ("1.2.3.4/24", "1.2.3.0/24", Some("inet4")),
            ("1.2.3.4/255.255.255.0", "1.2.3.0/24", Some("inet4")),
            ("1.2.3.4/32", "1.2.3.4", Some("inet4")),
            ("2001:db8::1/64", "2001:db8::/64", Some("inet6")),
            ("0.0.0.0/0", "0.0.0.0/0", Some("inet4")),
            ("999.1.1.1", "999.1.1.1", None),
            ("192.030.0.6", "192.030.0.6", None),
            ("user@host", "user@host", None),
            ("1.2.3.4/33", "1.2.3.4/33", None),
        ] {
            let id = Id::parse(input);
            assert_eq!(id.to_string(), expected, "{input}");
            assert_eq!(id.family().map(Family::as_str), family, "{input}");
        }
    }

    #[test]
    fn containment() {
        let net = Net::new(parse_ip("10.0.0.0").unwrap(), 8).unwrap();
        assert!(net.contains(parse_ip("10.9.8.7").unwrap()));
        assert!(!net.contains(parse_ip("11.0.0.1").unwrap()));
        assert!(!net.contains(parse_ip("::1").unwrap()));
        let all = Net::new(parse_ip("1.2.3.4").unwrap(), 0).unwrap();
        assert!(all.contains(parse_ip("255.0.0.1").unwrap()));
    }
}
