//! Lines of a source, through the filters of the jails that read it.

use super::Engine;
use super::desk::Desk;
use super::jail::Jail;
use crate::command::CommandError;
use crate::effect::Batch;
use crate::spec::{JailSpec, LineSpec};
use crate::time::Timestamp;
use crate::value::Value;

/// What a jail remembers between lines.
#[derive(Debug, Default)]
pub(super) struct LineState {}

impl LineState {
    pub fn shown_date_pattern(&self, spec: &JailSpec) -> Value {
        if spec.journal() {
            return Value::None;
        }
        let pattern = match spec.lines.datepattern.as_str() {
            "" => return Value::Tuple(vec![Value::None, Value::str("Default Detectors")]),
            pattern => pattern,
        };
        Value::Tuple(vec![Value::str(pattern), Value::str(pattern)])
    }
}

/// Regular expressions as clients see them.
pub(super) fn shown(_: &LineSpec, list: &[String]) -> Vec<String> {
    list.to_vec()
}

/// The prefregex as clients see it.
pub(super) fn shown_prefix(spec: &JailSpec) -> Value {
    Value::str(&spec.lines.prefregex)
}

/// Whether lines can be judged by this specification.
pub(super) fn check(_: &JailSpec, _: Timestamp) -> Result<(), CommandError> {
    Ok(())
}

/// Whether a change of how lines are judged is possible.
pub(super) fn check_change(
    _: &JailSpec,
    new: &JailSpec,
    now: Timestamp,
) -> Result<(), CommandError> {
    check(new, now)
}

impl Jail {
    /// Compiles the filter anew.
    pub fn refilter(&mut self, _: &mut Desk) {}
}

impl Engine {
    /// Complete lines of a source.
    pub(super) fn lines(&mut self, batch: Batch) {
        let _ = self.readers(batch.source);
        if let Some(source) = self.sources.get_mut(&batch.source) {
            source.advanced(batch.position);
        }
    }
}
