//! Words of the command line that stand for enum values and fractions of the API.
//!
//! Every list of words equals the values of its enum in the protobuf files; a test compares them.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::proto::v1;

const DATA_CLASSES: [&str; 6] = [
    "none",
    "anonymised",
    "personal",
    "sensitive-personal",
    "important",
    "core",
];
const CN_FLOWS: [&str; 4] = [
    "no-cn",
    "domestic-only",
    "inbound-process-reexport",
    "outbound",
];
const EXPORT_BASES: [&str; 9] = [
    "none-needed",
    "art3",
    "art4",
    "art5",
    "below-threshold",
    "standard-contract",
    "certification",
    "security-assessment",
    "ftz-list",
];
const ORIGIN_BASES: [&str; 6] = ["ctia", "scc", "bcr", "consent", "tia", "regulator-approval"];
const SECTORS: [&str; 6] = ["other", "finance", "health", "public", "telecom", "map"];
const PATHS: [&str; 2] = ["leased", "internet"];
const QUANTILES: [&str; 2] = ["p50", "p95"];
const PAUSE_MODES: [&str; 2] = ["suspend", "requeue"];
const CHECKPOINT_SIGNALS: [&str; 3] = ["usr1", "usr2", "hup"];
const SITE_LOST: [&str; 3] = ["requeue", "wait", "fail"];
const DRAIN_MODES: [&str; 3] = ["finish", "checkpoint", "kill"];
const PRODUCTS: [&str; 3] = ["day-ahead", "intraday", "week-ahead"];

/// The protobuf name of a word.
fn spelled(prefix: &str, word: &str) -> String {
    format!("{prefix}{}", word.to_uppercase().replace('-', "_"))
}

/// Parses a data class.
pub(crate) fn data_class() -> impl TypedValueParser<Value = v1::DataClass> {
    PossibleValuesParser::new(DATA_CLASSES).map(|word| {
        v1::DataClass::from_str_name(&spelled("DATA_CLASS_", &word)).unwrap_or_default()
    })
}

/// Parses a flow across the Chinese border.
pub(crate) fn cn_flow() -> impl TypedValueParser<Value = v1::CnFlow> {
    PossibleValuesParser::new(CN_FLOWS)
        .map(|word| v1::CnFlow::from_str_name(&spelled("CN_FLOW_", &word)).unwrap_or_default())
}

/// Parses a basis of export.
pub(crate) fn export_basis() -> impl TypedValueParser<Value = v1::ExportBasis> {
    PossibleValuesParser::new(EXPORT_BASES).map(|word| {
        v1::ExportBasis::from_str_name(&spelled("EXPORT_BASIS_", &word)).unwrap_or_default()
    })
}

/// Parses a sector.
pub(crate) fn sector() -> impl TypedValueParser<Value = v1::Sector> {
    PossibleValuesParser::new(SECTORS)
        .map(|word| v1::Sector::from_str_name(&spelled("SECTOR_", &word)).unwrap_or_default())
}

/// Parses a kind of line.
pub(crate) fn network_path() -> impl TypedValueParser<Value = v1::NetworkPath> {
    PossibleValuesParser::new(PATHS).map(|word| {
        v1::NetworkPath::from_str_name(&spelled("NETWORK_PATH_", &word)).unwrap_or_default()
    })
}

/// Parses what follows the loss of a site.
pub(crate) fn site_lost_policy() -> impl TypedValueParser<Value = v1::SiteLostPolicy> {
    PossibleValuesParser::new(SITE_LOST).map(|word| {
        v1::SiteLostPolicy::from_str_name(&spelled("SITE_LOST_POLICY_", &word)).unwrap_or_default()
    })
}

/// Parses what becomes of a program between two runs.
pub(crate) fn pause_mode() -> impl TypedValueParser<Value = v1::PauseMode> {
    PossibleValuesParser::new(PAUSE_MODES).map(|word| {
        v1::PauseMode::from_str_name(&spelled("PAUSE_MODE_", &word)).unwrap_or_default()
    })
}

/// Parses a checkpoint signal.
pub(crate) fn checkpoint_signal() -> impl TypedValueParser<Value = v1::CheckpointSignal> {
    PossibleValuesParser::new(CHECKPOINT_SIGNALS).map(|word| {
        v1::CheckpointSignal::from_str_name(&spelled("CHECKPOINT_SIGNAL_", &word))
            .unwrap_or_default()
    })
}

/// Parses a quantile of the round-trip time.
pub(crate) fn rtt_quantile() -> impl TypedValueParser<Value = v1::RttQuantile> {
    PossibleValuesParser::new(QUANTILES).map(|word| {
        v1::RttQuantile::from_str_name(&spelled("RTT_QUANTILE_", &word)).unwrap_or_default()
    })
}

/// Parses what a drain makes of jobs that have begun.
pub(crate) fn drain_mode() -> impl TypedValueParser<Value = v1::DrainMode> {
    PossibleValuesParser::new(DRAIN_MODES).map(|word| {
        v1::DrainMode::from_str_name(&spelled("DRAIN_MODE_", &word)).unwrap_or_default()
    })
}

/// Parses a forecast product.
pub(crate) fn product() -> impl TypedValueParser<Value = v1::ForecastProduct> {
    PossibleValuesParser::new(PRODUCTS).map(|word| {
        v1::ForecastProduct::from_str_name(&spelled("FORECAST_PRODUCT_", &word)).unwrap_or_default()
    })
}

/// Parses `80%`, `87.5%` or thousandths as `800`.
pub(crate) fn parse_permille(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no share; write 80%, 87.5% or thousandths as 800");
    let permille = match text.strip_suffix('%') {
        Some(percent) => {
            let (whole, tenths) = percent
                .trim()
                .split_once('.')
                .unwrap_or_else(|| (percent.trim(), "0"));
            if tenths.len() != 1 {
                return Err(wrong());
            }
            let whole: u32 = whole.parse().map_err(|_| wrong())?;
            let tenths: u32 = tenths.parse().map_err(|_| wrong())?;
            whole
                .checked_mul(10)
                .and_then(|permille| permille.checked_add(tenths))
                .ok_or_else(wrong)?
        }
        None => text.parse().map_err(|_| wrong())?,
    };
    if permille > 1000 {
        return Err(format!("{text} is more than everything"));
    }
    Ok(permille)
}

/// Decimal and binary multiples of a byte.
const SIZES: [(&str, u64); 10] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Multiples of a bit in a second; both ways of writing them are about.
const RATES: [(&str, u64); 9] = [
    ("kbit", 1_000),
    ("Mbit", 1_000_000),
    ("Gbit", 1_000_000_000),
    ("Tbit", 1_000_000_000_000),
    ("kbps", 1_000),
    ("Mbps", 1_000_000),
    ("Gbps", 1_000_000_000),
    ("Tbps", 1_000_000_000_000),
    ("bit", 1),
];

/// Parses a size as `50GB`, `1.5TB`, `64GiB` or a number of bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    parse_multiple(text, &SIZES).ok_or_else(|| {
        format!("`{text}` is no size; write 50GB, 1.5TB, 64GiB or a number of bytes")
    })
}

/// Parses a bandwidth as `200Mbit`, `2.5Gbit`, `10Gbps`, with or without `/s`, or a number of bits per second.
pub(crate) fn parse_bits_per_second(text: &str) -> Result<u64, String> {
    parse_multiple(text.strip_suffix("/s").unwrap_or(text), &RATES).ok_or_else(|| {
        format!("`{text}` is no bandwidth; write 200Mbit, 2.5Gbit, 10Gbps or a number of bits per second")
    })
}

/// A decimal number with the first of the units that fits, as a whole number of the smallest one.
fn parse_multiple(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let with_unit = |(unit, scale): &(&str, u64)| Some((text.strip_suffix(unit)?, *scale));
    let (number, scale) = units.iter().find_map(with_unit).unwrap_or((text, 1));
    let number = number.trim();
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if !(whole.bytes().chain(decimals.bytes())).all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let mut total = whole.checked_mul(scale)?;
    if number.contains('.') {
        let parts = 10_u64.checked_pow(u32::try_from(decimals.len()).ok()?)?;
        let part: u64 = decimals.parse().ok()?;
        let scaled = u128::from(part) * u128::from(scale);
        if !scaled.is_multiple_of(u128::from(parts)) {
            return None;
        }
        total = total.checked_add(u64::try_from(scaled / u128::from(parts)).ok()?)?;
    }
    Some(total)
}

/// Parses `KEY=VALUE`.
pub(crate) fn parse_label(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("`{text}` is not KEY=VALUE"))
}

/// Parses a document `REFERENCE` or `REFERENCE@UNTIL` with an RFC 3339 time.
pub(crate) fn parse_evidence(text: &str) -> Result<v1::Evidence, String> {
    let (reference, until) = match text.rsplit_once('@') {
        Some((reference, until)) => (reference, Some(until)),
        None => (text, None),
    };
    if reference.is_empty() {
        return Err("write REFERENCE or REFERENCE@2027-06-30T00:00:00+08:00".to_owned());
    }
    let valid_until = until
        .map(|until| {
            until
                .parse::<jiff::Timestamp>()
                .map(crate::cli::time::to_proto)
                .map_err(|error| format!("`{until}`: {error}"))
        })
        .transpose()?;
    Ok(v1::Evidence {
        reference: reference.to_owned(),
        valid_until,
    })
}

/// Parses a basis in a country of collection, `CC=KIND`, `CC=KIND:REFERENCE` or `CC=KIND:REFERENCE@UNTIL`.
pub(crate) fn parse_origin_basis(text: &str) -> Result<v1::OriginBasis, String> {
    let (country, rest) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not CC=KIND:REFERENCE, e.g. VN=ctia:CTIA-2026-17"))?;
    let (word, evidence) = match rest.split_once(':') {
        Some((word, evidence)) => (word, Some(parse_evidence(evidence)?)),
        None => (rest, None),
    };
    if !ORIGIN_BASES.contains(&word) {
        return Err(format!("`{word}` is none of {}", ORIGIN_BASES.join(", ")));
    }
    let kind = v1::OriginBasisKind::from_str_name(&spelled("ORIGIN_BASIS_KIND_", word))
        .unwrap_or_default();
    Ok(v1::OriginBasis {
        country: country.to_owned(),
        kind: kind.into(),
        evidence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::json::enum_values;

    #[test]
    fn words_are_the_values_of_the_enums() {
        let cases: [(&str, &str, &[&str]); 10] = [
            ("DataClass", "DATA_CLASS_", &DATA_CLASSES),
            ("CnFlow", "CN_FLOW_", &CN_FLOWS),
            ("ExportBasis", "EXPORT_BASIS_", &EXPORT_BASES),
            ("OriginBasisKind", "ORIGIN_BASIS_KIND_", &ORIGIN_BASES),
            ("Sector", "SECTOR_", &SECTORS),
            ("NetworkPath", "NETWORK_PATH_", &PATHS),
            ("RttQuantile", "RTT_QUANTILE_", &QUANTILES),
            ("SiteLostPolicy", "SITE_LOST_POLICY_", &SITE_LOST),
            ("DrainMode", "DRAIN_MODE_", &DRAIN_MODES),
            ("ForecastProduct", "FORECAST_PRODUCT_", &PRODUCTS),
        ];
        for (name, prefix, words) in cases {
            assert_eq!(
                enum_values(&format!("lancang.v1.{name}"), prefix),
                words,
                "{name}"
            );
        }
    }

    #[test]
    fn shares_are_per_cent_or_thousandths() {
        for (text, permille) in [
            ("80%", 800),
            ("87.5%", 875),
            ("100 %", 1000),
            ("0", 0),
            ("875", 875),
        ] {
            assert_eq!(parse_permille(text), Ok(permille), "{text}");
        }
        for text in ["0.8", "101%", "87.55%", "1001", "-1", "%", ""] {
            assert!(parse_permille(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_bandwidths_have_units() {
        for (text, bytes) in [
            ("7", 7),
            ("7B", 7),
            ("50GB", 50_000_000_000),
            ("50 GB", 50_000_000_000),
            ("1.5TB", 1_500_000_000_000),
            ("0.25kB", 250),
            ("64GiB", 64 << 30),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for (text, rate) in [
            ("800", 800),
            ("200Mbit", 200_000_000),
            ("2.5Gbit/s", 2_500_000_000),
            ("10Gbps", 10_000_000_000),
        ] {
            assert_eq!(parse_bits_per_second(text), Ok(rate), "{text}");
        }
        for text in [
            "",
            "GB",
            "-1GB",
            "+1GB",
            "1e3",
            "1.B",
            ".5GB",
            "0.5B",
            "50G",
            "50gb",
            "99999999TB",
            "1.2.3GB",
            "5Gbit",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        for text in ["10G", "10GB", "1.5bit", "Gbit", "1 000"] {
            assert!(parse_bits_per_second(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_basis_carries_its_proof() {
        let basis = parse_origin_basis("VN=ctia:CTIA-17@2027-06-30T00:00:00Z").unwrap();
        assert_eq!(basis.kind(), v1::OriginBasisKind::Ctia);
        let evidence = basis.evidence.unwrap();
        assert_eq!(evidence.reference, "CTIA-17");
        assert_eq!(evidence.valid_until.unwrap().seconds, 1_814_313_600);
        for wrong in ["VN", "VN=visa", "VN=ctia:", "VN=ctia:X@soon"] {
            assert!(parse_origin_basis(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn labels_need_a_key() {
        assert_eq!(
            parse_label("team=a=b"),
            Ok(("team".to_owned(), "a=b".to_owned()))
        );
        assert!(parse_label("=x").is_err() && parse_label("x").is_err());
    }
}
