//! Zone names and offsets in dates and in `logtimezone`.
//!
//! An abbreviation is a fixed offset here, never a rule: `CET` stays +1 in summer. Which clock the
//! host itself runs on is the [`Zone`] that the edge hands in.

use super::digits;
use super::error::DateError;
use crate::time::Zone;

/// Minutes east of UTC, with the abbreviations that mean it.
///
/// Abbreviations are ambiguous in the world (there is no `IST` or `BST` here for that reason); these
/// meanings are the ones fail2ban gives them.
#[rustfmt::skip]
const ABBREVIATIONS: &[(i32, &str)] = &[
    (-720, "Y"),
    (-660, "X NUT SST"),
    (-600, "W CKT HAST HST TAHT TKT"),
    (-570, "MART MIT"),
    (-540, "V AKST GAMT GIT HADT HNY"),
    (-480, "U AKDT CIST HAY HNP PST PT"),
    (-420, "T HAP HNR MST PDT"),
    (-360, "S CST EAST GALT HAR HNC MDT"),
    (-300, "R CDT COT EASST ECT EST ET HAC HNE PET"),
    (-270, "HLV VET"),
    (-240, "Q AST BOT CLT COST EDT FKT GYT HAE HNA PYT"),
    (-210, "HNT NST NT"),
    (-180, "P ADT ART BRT CLST FKST GFT HAA PMST PYST SRT UYT WGT"),
    (-150, "HAT NDT"),
    (-120, "O BRST FNT PMDT UYST WGST"),
    (-60, "N AZOT CVT EGT"),
    (0, "Z EGST GMT UTC WET WT"),
    (60, "A CET DFT WAT WEDT WEST"),
    (120, "B CAT CEDT CEST EET SAST WAST"),
    (180, "C EAT EEDT EEST IDT MSK"),
    (210, "IRST"),
    (240, "D AMT AZT GET GST KUYT MSD MUT RET SAMT SCT"),
    (270, "AFT IRDT"),
    (300, "E AMST AQTT AZST HMT MAWT MVT PKT TFT TJT TMT UZT YEKT"),
    (330, "SLT"),
    (345, "NPT"),
    (360, "F ALMT BIOT BTT IOT KGT NOVT OMST YEKST"),
    (390, "CCT MMT"),
    (420, "G CXT DAVT HOVT ICT KRAT NOVST OMSST THA WIB"),
    (480, "H ACT AWST BDT BNT CAST HKT IRKT KRAST MYT PHT SGT ULAT WITA WST"),
    (540, "I AWDT IRKST JST KST PWT TLT WDT WIT YAKT"),
    (570, "ACST"),
    (600, "K AEST PGT VLAT YAKST YAPT"),
    (630, "ACDT LHST"),
    (660, "L AEDT LHDT MAGT NCT PONT SBT VLAST VUT"),
    (690, "NFT"),
    (720, "M ANAST ANAT FJT GILT MAGST MHT NZST PETST PETT TVT WFT"),
    (780, "FJST NZDT"),
];

/// A zone for lines that name none: a fixed offset from UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogZone {
    text: String,
    minutes: i32,
}

impl LogZone {
    /// Reads `UTC`, `CET`, `+0200`, `CET+01:00`.
    pub fn parse(text: &str) -> Result<LogZone, DateError> {
        match offset_minutes(text) {
            Ok(Some(minutes)) => Ok(LogZone { text: text.to_owned(), minutes }),
            Ok(None) | Err(_) => Err(DateError::LogZone(text.to_owned())),
        }
    }

    /// The zone as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Minutes east of UTC.
    pub fn minutes(&self) -> i32 {
        self.minutes
    }
}

/// How to read a date without a zone: the jail's `logtimezone` if it has one, else local time.
#[derive(Clone, Debug)]
pub struct LineZone {
    /// The zone of the host; also decides which year and day it is.
    pub local: Zone,
    /// The jail's `logtimezone`.
    pub log: Option<LogZone>,
}

impl LineZone {
    /// Local time, without a `logtimezone`.
    pub fn local(local: Zone) -> Self {
        Self { local, log: None }
    }
}

/// The offset that a zone word in a date means, in minutes.
///
/// `Ok(None)` for a word that is not even shaped like a zone (then the line has no date); an error
/// for an abbreviation that is not known (then the line cannot be used).
pub(super) fn offset_minutes(word: &str) -> Result<Option<i32>, DateError> {
    let letters = word.bytes().take_while(u8::is_ascii_uppercase).count();
    if !matches!(letters, 0 | 1 | 3..=5) {
        return Ok(None);
    }
    let (name, offset) = word.split_at(letters);
    let Some(offset) = numeric_minutes(offset) else { return Ok(None) };
    if name.is_empty() {
        return Ok(Some(offset));
    }
    match ABBREVIATIONS.iter().find(|(_, names)| names.split(' ').any(|n| n == name)) {
        Some((minutes, _)) => Ok(Some(minutes + offset)),
        None => Err(DateError::UnknownZone(name.to_owned())),
    }
}

/// `+hh`, `+hhmm` or `+hh:mm` in minutes; nothing is 0.
fn numeric_minutes(text: &str) -> Option<i32> {
    let mut rest = text.chars();
    let sign = match rest.next() {
        None => return Some(0),
        Some('+') => 1,
        Some('-') => -1,
        Some(_) => return None,
    };
    let tens = rest.next().filter(|c| matches!(c, '0' | '1'))?;
    let hours = two_digits(tens, rest.next()?)?;
    let minutes = match rest.next() {
        None => 0,
        Some(':') => two_digits(rest.next()?, rest.next()?)?,
        Some(tens) => two_digits(tens, rest.next()?)?,
    };
    if rest.next().is_some() {
        return None;
    }
    Some(sign * (hours * 60 + minutes))
}

fn two_digits(tens: char, ones: char) -> Option<i32> {
    i32::try_from(digits::value(tens)? * 10 + digits::value(ones)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_words() {
        let check = |word: &str, expected: Result<Option<i32>, &str>| {
            let expected = expected.map_err(|name| DateError::UnknownZone(name.to_owned()));
            assert_eq!(offset_minutes(word), expected, "{word:?}");
        };
        check("", Ok(Some(0)));
        check("Z", Ok(Some(0)));
        check("UTC", Ok(Some(0)));
        check("CET", Ok(Some(60)));
        check("NST", Ok(Some(-210)));
        check("SST", Ok(Some(-660)));
        check("+0200", Ok(Some(120)));
        check("-02:30", Ok(Some(-150)));
        check("+02", Ok(Some(120)));
        check("CET+0100", Ok(Some(120)));
        check("UTC-1", Ok(None));
        check("+2000", Ok(None));
        check("+02:0", Ok(None));
        check("+02000", Ok(None));
        check("cet", Ok(None));
        check("AB", Ok(None));
        check("ABCDEF", Ok(None));
        check("J", Err("J"));
        check("IST", Err("IST"));
        check("BST", Err("BST"));
        check("ERROR", Err("ERROR"));
    }

    #[test]
    fn logtimezone_messages() {
        assert_eq!(LogZone::parse("UTC+0100").unwrap().minutes(), 60);
        let error = LogZone::parse("Europe/Berlin").unwrap_err();
        assert_eq!(error.to_string(), "Unknown or unsupported time zone: 'Europe/Berlin'");
        assert!(LogZone::parse("IST").is_err());
    }
}
