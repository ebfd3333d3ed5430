//! What one server leaves in force for the next: a file beside the PID file.
//!
//! It is written at the very end of a `stop --keep`, read once at the next start, and gone from then
//! on: should that start fail half-way, the next one finds an unclean end and cleans up instead. It
//! lies in memory (`/run`), so it does not outlive the kernel whose rules it tells of.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sekisho_core::action::RunFamily;
use sekisho_core::effect::{ActionSpec, Kept};
use sekisho_core::id::{Family, Id};
use serde_json::{Value, json};

/// The file's place.
pub fn path(pidfile: &Path) -> PathBuf {
    pidfile.with_extension("kept")
}

/// Writes it; in one piece or not at all.
pub fn write(path: &Path, kept: &[Kept]) -> io::Result<()> {
    let new = path.with_extension("kept.new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
    let list: Vec<Value> = kept.iter().map(render).collect();
    file.write_all(json!({"version": 1, "actions": list}).to_string().as_bytes())?;
    fs::rename(new, path)
}

/// Reads and removes it: nothing where there is none, an error where it cannot be understood.
pub fn take(path: &Path) -> Result<Vec<Kept>, String> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    fs::remove_file(path).map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let list = value.get("actions").and_then(Value::as_array).ok_or("it has no list of actions")?;
    list.iter().map(|entry| parse(entry).ok_or("an entry is incomplete".to_owned())).collect()
}

fn render(kept: &Kept) -> Value {
    let spec = &kept.spec;
    json!({
        "jail": kept.jail,
        "action": spec.name,
        "file": spec.file,
        "properties": spec.properties,
        "usable": spec.families.iter().map(|f| f.as_str()).collect::<Vec<_>>(),
        "started": kept.families.iter().map(|f| f.as_str()).collect::<Vec<_>>(),
        "banned": kept.ids.iter().map(Id::to_string).collect::<Vec<_>>(),
    })
}

fn parse(entry: &Value) -> Option<Kept> {
    let text = |key: &str| entry.get(key)?.as_str().map(str::to_owned);
    let texts = |key: &str| -> Option<Vec<&str>> {
        entry.get(key)?.as_array()?.iter().map(Value::as_str).collect()
    };
    let properties = entry.get("properties")?.as_object()?.iter();
    let spec = ActionSpec {
        name: text("action")?,
        file: text("file"),
        properties: properties
            .map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect::<Option<_>>()?,
        python: None,
        traits: None,
        families: texts("usable")?.into_iter().map(family).collect::<Option<_>>()?,
    };
    let started = texts("started")?.into_iter().map(|word| match word {
        "" => Some(RunFamily::Any),
        "None" => Some(RunFamily::None),
        word => family(word).map(RunFamily::Only),
    });
    Some(Kept {
        jail: text("jail")?,
        spec,
        ids: texts("banned")?.into_iter().map(Id::parse).collect(),
        families: started.collect::<Option<_>>()?,
    })
}

fn family(word: &str) -> Option<Family> {
    [Family::Inet4, Family::Inet6].into_iter().find(|family| family.as_str() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = path(&dir.path().join("x.pid"));
        assert_eq!(take(&file), Ok(Vec::new()));
        let kept = vec![Kept {
            jail: "sshd".into(),
            spec: ActionSpec {
                name: "nft-x".into(),
                file: Some("/etc/fail2ban/action.d/nft.conf".into()),
                properties: [("actionban", "nft <ip>"), ("blocktype?family=inet6", "drop\n\"x\"")]
                    .map(|(k, v)| (k.to_owned(), v.to_owned()))
                    .into(),
                python: None,
                traits: None,
                families: vec![Family::Inet4, Family::Inet6],
            },
            ids: ["192.0.2.1", "2001:db8::/64", "no address"].map(Id::parse).to_vec(),
            families: vec![RunFamily::Any, RunFamily::Only(Family::Inet6), RunFamily::None],
        }];
        write(&file, &kept).unwrap();
        assert_eq!(take(&file), Ok(kept));
        assert_eq!(take(&file), Ok(Vec::new()));
        for broken in ["", "[]", "{\"actions\": [{}]}", "{\"actions\": [{\"jail\": \"x\"}]}"] {
            fs::write(&file, broken).unwrap();
            assert!(take(&file).is_err(), "{broken}");
            assert!(!file.exists(), "{broken}");
        }
    }
}
