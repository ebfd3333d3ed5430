//! Whom a match is about: from captured groups to an [`Id`].

use crate::failure::Fields;
use crate::id::{Id, parse_ip};
use crate::value::Value;

use super::pattern::is_empty;
use super::{FoundId, UseDns};

/// Whom the fields are about, and the address where that is not the id.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub id: FoundId,
    pub address: Option<Id>,
}

/// Whether the fields can say whom to ban.
pub(super) fn identifies(fields: &Fields, usedns: UseDns) -> bool {
    identity(fields, usedns).is_some()
}

/// Finds the failure id: `fid`, else the address, else the name.
pub(super) fn identity(fields: &Fields, usedns: UseDns) -> Option<Identity> {
    let address = address(fields);
    match fields.get("fid").filter(|v| !is_empty(v)) {
        Some(Value::Tuple(parts)) => {
            let known = |part: &Value| (*part != Value::None).then(|| part.to_text());
            let parts = parts.iter().map(known).collect();
            return Some(Identity { id: FoundId::Id(Id::Tuple(parts)), address });
        }
        Some(fid) => {
            let text = fid.to_text();
            let id = if usedns == UseDns::Raw { Id::Raw(text) } else { Id::parse(&text) };
            let address = address.filter(|a| *a != id);
            return Some(Identity { id: FoundId::Id(id), address });
        }
        None => {}
    }
    if let Some(id) = address {
        return Some(Identity { id: FoundId::Id(id), address: None });
    }
    let name = text(fields, "dns").or_else(|| text(fields, "host"))?;
    let id = match usedns {
        UseDns::No => return None,
        UseDns::Raw => FoundId::Id(Id::Raw(name.to_owned())),
        UseDns::Yes | UseDns::Warn => FoundId::Name(name.to_owned()),
    };
    Some(Identity { id, address: None })
}

/// The address: `ip4` or `ip6`, with `cidr` a network; `host` where its text is an address.
fn address(fields: &Fields) -> Option<Id> {
    if let Some(ip) = text(fields, "ip4").or_else(|| text(fields, "ip6")) {
        let id = match (parse_ip(ip), text(fields, "cidr")) {
            (Some(addr), Some(cidr)) => match cidr.parse::<u8>() {
                Ok(prefix) => Id::network(addr, prefix),
                Err(_) => Id::Ip(addr),
            },
            (Some(addr), None) => Id::Ip(addr),
            (None, _) => Id::Raw(ip.to_owned()),
        };
        return Some(id);
    }
    match Id::parse(text(fields, "host")?) {
        Id::Raw(_) | Id::Tuple(_) => None,
        id => Some(id),
    }
}

fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.text(name).filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_kinds() {
        let name = |n: &str| FoundId::Name(n.into());
        let id = |t: &str| FoundId::Id(Id::parse(t));
        let check = |pairs: &[(&str, &str)], usedns, expected: Option<(FoundId, Option<&str>)>| {
            let mut fields = Fields::default();
            for (k, v) in pairs {
                fields.set(k, Value::str(*v));
            }
            let expected =
                expected.map(|(id, address)| Identity { id, address: address.map(Id::parse) });
            assert_eq!(identity(&fields, usedns), expected, "{pairs:?}");
        };
        use UseDns::{No, Raw, Warn};
        check(&[("ip4", "1.2.3.4")], Warn, Some((id("1.2.3.4"), None)));
        check(&[("fid", "abc"), ("ip4", "1.2.3.4")], Warn, Some((id("abc"), Some("1.2.3.4"))));
        check(&[("fid", "1.2.3.4"), ("ip4", "1.2.3.4")], Warn, Some((id("1.2.3.4"), None)));
        check(&[("ip4", "1.2.3.4"), ("cidr", "24")], Warn, Some((id("1.2.3.0/24"), None)));
        check(&[("ip4", "1.2.3.4"), ("cidr", "33")], Warn, Some((id("1.2.3.4"), None)));
        check(&[("ip4", "999.1.1.1")], Warn, Some((id("999.1.1.1"), None)));
        check(&[("dns", "host.example")], Warn, Some((name("host.example"), None)));
        check(&[("dns", "host.example")], No, None);
        check(&[("dns", "host.example")], Raw, Some((id("host.example"), None)));
        check(&[("host", "2001:db8::1")], No, Some((id("2001:db8::1"), None)));
        check(&[("host", "host.example")], Warn, Some((name("host.example"), None)));
        check(&[("host", "")], Warn, None);
        check(&[], Warn, None);
    }
}
