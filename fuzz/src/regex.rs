//! Python's regular expressions: parsed, printed, compiled and run.
//!
//! Input: options, then a pattern and texts. What Python's grammar accepts must be printed so that
//! the engine below accepts it; both programs of a pattern (ASCII, any text) must find the same; a
//! literal that is said to be required must be in every match; the filter's prefilters must not lose
//! a match.

use sekisho_core::filter::Pattern;
use sekisho_core::regex::tags::HostTag;
use sekisho_core::regex::{Flags, Regex};

/// Patterns of the administrator's are not bounded; here they are, or all time goes into compiling.
const MAX_PATTERN: usize = 600;

/// Takes any bytes.
pub fn run(data: &[u8]) {
    let (options, mut texts) = crate::texts(data);
    let flags = Flags { ignore_case: options & 1 != 0, multi_line: options & 2 != 0 };
    let host = if options & 4 != 0 { HostTag::Address } else { HostTag::AddressOrName };
    let pattern = texts.next().unwrap_or_default();
    if pattern.len() > MAX_PATTERN {
        return;
    }
    let texts: Vec<_> = texts.take(8).collect();
    match Regex::new(&pattern, flags) {
        Ok(regex) => texts.iter().for_each(|text| search(&regex, text)),
        Err(error) => understood(&error.message),
    }
    if let Ok(pattern) = Pattern::new(&pattern, host, flags.multi_line) {
        texts.iter().for_each(|text| filter(&pattern, text));
    }
}

/// The engine below may refuse a pattern for its size alone.
fn understood(message: &str) {
    let from_below = ["Parsing error at position ", "Error compiling regex: "];
    let of_size = ["exceeds size limit", "too complex", "too big", "nested", "DFA"];
    let refused = from_below.iter().any(|text| message.starts_with(text));
    let too_large = of_size.iter().any(|text| message.contains(text));
    assert!(!refused || too_large, "what was printed is not understood: {message}");
}

fn search(regex: &Regex, text: &str) {
    let middle = text.floor_char_boundary(text.len() / 2);
    for start in [0, middle] {
        assert!(regex.programs_agree(text, start), "two answers in {text:?} from {start}");
        let Ok(found) = regex.search(text, start) else { return };
        if start == 0 {
            assert!(regex.is_match(text).is_ok_and(|is| is == found.is_some()), "in {text:?}");
        }
        let Some(found) = found else { continue };
        assert_eq!(found.len(), regex.group_count());
        for span in found.iter().flatten() {
            assert!(text.get(span.clone()).is_some(), "{span:?} is no part of {text:?}");
        }
        assert!(found.get(0).is_some_and(|whole| whole.start >= start));
        let required = regex.required_literals();
        // Beyond ASCII, letters may stand for others where case is ignored; users of the literals
        // know that.
        if let Some(required) = required.filter(|_| text.is_ascii()) {
            assert!(required.any_in(text.as_bytes()), "{required:?} is not in {text:?}");
        }
    }
}

fn filter(pattern: &Pattern, text: &str) {
    let (Ok(plain), Ok(filtered)) = (pattern.regex().search(text, 0), pattern.search(text)) else {
        return;
    };
    assert_eq!(plain, filtered, "the prefilter loses {text:?}");
    if let Some(found) = filtered {
        assert!(pattern.might_match(text));
        assert!(pattern.is_match(text));
        let fields = pattern.groups(text, &found);
        assert!(fields.iter().count() <= 4 * pattern.regex().group_count());
        for span in pattern.skipped(&found) {
            assert!(text.get(span).is_some());
        }
    }
}
