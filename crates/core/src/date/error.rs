//! What can go wrong with a date pattern, a zone name or a date.

/// Why a date pattern or zone is refused, or why a line cannot be used.
///
/// A date that merely does not exist (30 February) is no error: the line then counts as undated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// The pattern cannot be understood.
    #[error(
        "Failed to set datepattern '{pattern}' (may be an invalid format or unescaped percent \
         char): {reason}"
    )]
    Pattern {
        /// The pattern as configured.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two of the given patterns are the same.
    #[error("There is already a template with name {name}")]
    Duplicate {
        /// The name shown for the pattern.
        name: String,
    },
    /// `logtimezone` holds something that is no known abbreviation or offset.
    #[error("Unknown or unsupported time zone: '{0}'")]
    LogZone(String),
    /// The line names a zone that is not in the table; the line cannot be used.
    #[error("the date names the unknown time zone '{0}'")]
    UnknownZone(String),
    /// The pattern yields a month without a day, or a day without a month.
    #[error("the date has only one of month and day; add the other to the datepattern")]
    HalfDate,
    /// The date lies outside what can be represented.
    #[error("the date is out of range")]
    OutOfRange,
}
