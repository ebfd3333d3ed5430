//! Tags in a text that no shell will see: previews and reports.

use super::facts::{Facts, LookUp};
use super::tags::replace_tags;

impl Facts<'_> {
    /// Replaces the tags of `text` by their bare values. Never hand the result to a shell: values
    /// come from log lines and are not escaped here.
    pub fn plain(&self, text: &str, look_up: &mut dyn LookUp) -> String {
        replace_tags(text, |tag, _| match tag {
            "br" => Some("\n".to_owned()),
            "sp" => Some(" ".to_owned()),
            "fq-hostname" => Some(look_up.own_host_name(true)),
            "sh-hostname" => Some(look_up.own_host_name(false)),
            _ => match tag.strip_prefix("F-").filter(|name| *name != "*") {
                Some("ID") => Some(self.group("fid").unwrap_or_default()),
                Some("PORT") => Some(self.group("fport").unwrap_or_default()),
                Some(name) => Some(self.group(&name.to_ascii_lowercase()).unwrap_or_default()),
                None => self.value(tag, look_up),
            },
        })
    }
}
