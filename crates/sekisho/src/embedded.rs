//! The configuration that travels in the binary: `config/` of the repository, file by file.
//!
//! `sekisho run` uses it where the machine has none, and falls back to it for an action or filter
//! file that a tree lacks. It is read by the same reader as any other tree.

/// Path below the tree's root, and text.
pub const FILES: &[(&str, &str)] = &[
    ("fail2ban.conf", include_str!("../../../config/fail2ban.conf")),
    ("jail.conf", include_str!("../../../config/jail.conf")),
    ("filter.d/common.conf", include_str!("../../../config/filter.d/common.conf")),
    ("filter.d/dovecot.conf", include_str!("../../../config/filter.d/dovecot.conf")),
    (
        "filter.d/nginx-http-auth.conf",
        include_str!("../../../config/filter.d/nginx-http-auth.conf"),
    ),
    ("filter.d/postfix.conf", include_str!("../../../config/filter.d/postfix.conf")),
    ("filter.d/recidive.conf", include_str!("../../../config/filter.d/recidive.conf")),
    ("filter.d/sshd.conf", include_str!("../../../config/filter.d/sshd.conf")),
    ("action.d/hostsdeny.conf", include_str!("../../../config/action.d/hostsdeny.conf")),
    (
        "action.d/iptables-multiport.conf",
        include_str!("../../../config/action.d/iptables-multiport.conf"),
    ),
    ("action.d/nftables.conf", include_str!("../../../config/action.d/nftables.conf")),
    ("action.d/sendmail-whois.conf", include_str!("../../../config/action.d/sendmail-whois.conf")),
];

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_file_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
        for folder in ["", "filter.d", "action.d"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                if path.ends_with(".conf") {
                    assert!(FILES.iter().any(|(p, _)| *p == path), "{path} is not embedded");
                }
            }
        }
    }
}
