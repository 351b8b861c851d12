//! From the bytes of a file to a problem: unpacks, takes the JSON apart, names what has the wrong type.
//!
//! Jobs are taken one by one, so that a file of a million needs little more memory than its text.

use std::{collections::BTreeMap, io::Read as _};

use flate2::bufread::GzDecoder;
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};

use super::{
    At, Refusal, VERSION, Violations,
    document::{JobEntry, LinkEntry, SiteEntry},
    jobs::Jobs,
    sites,
};
use crate::{
    limits::{INSTANCE_BYTES_MAX, INSTANCE_JOBS_MAX, INSTANCE_SLOTS_MAX, SITES_MAX},
    solver::Problem,
};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const NAME_BYTES_MAX: usize = 128;
const LINKS_MAX: usize = 1_024;
const MINUTES_OF_DAY: i64 = 1_440;

/// What a field must be.
#[derive(Debug, Clone, Copy)]
pub(in crate::sim) enum Kind {
    Whole,
    Text,
    Wholes,
    /// A list of lists of three whole numbers.
    Runs,
}

/// A kind of entry with the types of its fields.
pub(in crate::sim) trait Entry: DeserializeOwned {
    const FIELDS: &'static [(&'static str, Kind)];
}

impl Entry for SiteEntry {
    const FIELDS: &'static [(&'static str, Kind)] = &[
        ("id", Kind::Text),
        ("cap", Kind::Wholes),
        ("power_cap_w", Kind::Whole),
        ("pue_milli", Kind::Whole),
        ("green_w", Kind::Wholes),
        ("weight", Kind::Wholes),
    ];
}

impl Entry for LinkEntry {
    const FIELDS: &'static [(&'static str, Kind)] =
        &[("id", Kind::Text), ("cap_mbps", Kind::Whole)];
}

impl Entry for JobEntry {
    const FIELDS: &'static [(&'static str, Kind)] = &[
        ("id", Kind::Whole),
        ("arrival", Kind::Whole),
        ("release", Kind::Whole),
        ("deadline", Kind::Whole),
        ("class", Kind::Text),
        ("req", Kind::Wholes),
        ("power_w", Kind::Whole),
        ("duration", Kind::Whole),
        ("sites", Kind::Wholes),
        ("link", Kind::Whole),
        ("xfer_slots", Kind::Whole),
        ("xfer_mbps", Kind::Whole),
        ("min_chunk", Kind::Whole),
        ("resume_slots", Kind::Whole),
        ("speed", Kind::Wholes),
        ("work", Kind::Whole),
        ("value", Kind::Whole),
    ];
}

/// Reads an instance.
///
/// # Errors
/// The file is cut off, damaged or no JSON, or says what cannot be; then every violation with its path.
pub fn decode(bytes: &[u8]) -> Result<Problem, Refusal> {
    let text = text(bytes)?;
    let fields = object(&text)?;
    let mut bad = Violations::default();
    if let Some(version) = whole(&fields, "version", &mut bad)
        && version != VERSION
    {
        bad.add(
            || "version".to_owned(),
            format!("{version} is unknown; this program reads version {VERSION}"),
        );
    }
    let name: Option<String> = field(&fields, "name", "a text", &mut bad);
    if let Some(name) = &name
        && (name.is_empty() || NAME_BYTES_MAX < name.len())
    {
        let reason = format!("must have 1 to {NAME_BYTES_MAX} bytes, has {}", name.len());
        bad.add(|| "name".to_owned(), reason);
    }
    let slot_minutes: Option<u32> = bounded(&fields, "slot_minutes", MINUTES_OF_DAY, &mut bad);
    let slots_max = i64::try_from(INSTANCE_SLOTS_MAX).unwrap_or(i64::MAX);
    let n_slots: Option<usize> = bounded(&fields, "slots", slots_max, &mut bad);

    let sites = list(&fields, "sites", 1, SITES_MAX, &mut bad);
    let links = list(&fields, "links", 0, LINKS_MAX, &mut bad);
    let jobs = list(&fields, "jobs", 0, INSTANCE_JOBS_MAX, &mut bad);
    let sites = entries::<SiteEntry>("sites", &sites, &mut bad);
    let links = entries::<LinkEntry>("links", &links, &mut bad);
    let pue: Vec<Option<i64>> = sites
        .iter()
        .map(|site| site.as_ref().map(|site| site.pue_milli))
        .collect();
    let sites = sites::sites(&sites, n_slots, &mut bad);
    let links = sites::links(&links, &mut bad);
    let weights = sites.0.iter().flat_map(|site| &site.weight);
    let weight_max = weights.copied().max().unwrap_or(0);
    let mut reader = Jobs::new(n_slots, pue, &links, weight_max);
    let mut sound = Vec::with_capacity(jobs.len());
    for (index, raw) in jobs.iter().enumerate() {
        let at = At {
            list: "jobs",
            index,
        };
        if let Some(entry) = entry::<JobEntry>(at, raw, &mut bad) {
            sound.extend(reader.job(at, &entry, &mut bad));
        }
    }
    reader.finish(&mut bad);
    let header = name.zip(slot_minutes).zip(n_slots);
    let problem = header.map(|((name, slot_minutes), n_slots)| Problem {
        name: name.into(),
        slot_minutes,
        n_slots,
        pools: sites.1,
        sites: sites.0,
        links: links.into_iter().flatten().collect(),
        jobs: sound,
    });
    bad.result(problem)
}

/// The text of a file, unpacked when it is compressed.
pub(in crate::sim) fn text(bytes: &[u8]) -> Result<String, Refusal> {
    let too_long = Refusal::TooLong {
        max: INSTANCE_BYTES_MAX,
    };
    let bytes = if bytes.starts_with(&GZIP) {
        let mut decoder = GzDecoder::new(bytes);
        let mut unpacked = Vec::new();
        let most = u64::try_from(INSTANCE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = (&mut decoder).take(most + 1).read_to_end(&mut unpacked);
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(Refusal::CutGzip);
            }
            Err(error) => return Err(Refusal::DamagedGzip(error.to_string())),
            Ok(_) if INSTANCE_BYTES_MAX < unpacked.len() => return Err(too_long),
            Ok(_) => {}
        }
        let rest = decoder.into_inner();
        if !rest.is_empty() {
            return Err(Refusal::TrailingBytes {
                n_bytes: rest.len(),
            });
        }
        unpacked
    } else if INSTANCE_BYTES_MAX < bytes.len() {
        return Err(too_long);
    } else {
        bytes.to_vec()
    };
    String::from_utf8(bytes).map_err(|error| Refusal::NotText {
        at: error.utf8_error().valid_up_to(),
    })
}

/// Fields of an object, with their values as they stand in the text.
pub(in crate::sim) type Fields<'a> = BTreeMap<&'a str, &'a RawValue>;

/// Takes the outermost object apart.
pub(in crate::sim) fn object(text: &str) -> Result<Fields<'_>, Refusal> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        if error.is_eof() {
            Refusal::CutJson { line, column }
        } else {
            Refusal::Json(error.to_string())
        }
    })
}

/// A field of the outermost object.
pub(in crate::sim) fn field<T: DeserializeOwned>(
    fields: &Fields<'_>,
    name: &'static str,
    what: &str,
    bad: &mut Violations,
) -> Option<T> {
    let Some(raw) = fields.get(name) else {
        bad.add(|| name.to_owned(), "is missing");
        return None;
    };
    let value = serde_json::from_str(raw.get());
    if value.is_err() {
        bad.add(
            || name.to_owned(),
            format!("{} is not {what}", short(raw.get())),
        );
    }
    value.ok()
}

fn whole(fields: &Fields<'_>, name: &'static str, bad: &mut Violations) -> Option<i64> {
    field(fields, name, "a whole number", bad)
}

fn bounded<T: TryFrom<i64>>(
    fields: &Fields<'_>,
    name: &'static str,
    max: i64,
    bad: &mut Violations,
) -> Option<T> {
    let value = whole(fields, name, bad)?;
    bad.in_range(|| name.to_owned(), value, 1..=max)
}

/// The entries of a list, not yet read.
pub(in crate::sim) fn list<'a>(
    fields: &Fields<'a>,
    name: &'static str,
    min: usize,
    max: usize,
    bad: &mut Violations,
) -> Vec<&'a RawValue> {
    let Some(raw) = fields.get(name) else {
        bad.add(|| name.to_owned(), "is missing");
        return Vec::new();
    };
    let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        bad.add(
            || name.to_owned(),
            format!("{} is not a list", short(raw.get())),
        );
        return Vec::new();
    };
    if list.len() < min || max < list.len() {
        bad.add(
            || name.to_owned(),
            format!("has {} entries; {min} to {max} are allowed", list.len()),
        );
        return Vec::new();
    }
    list
}

fn entries<T: Entry>(
    name: &'static str,
    raw: &[&RawValue],
    bad: &mut Violations,
) -> Vec<Option<T>> {
    raw.iter()
        .enumerate()
        .map(|(index, raw)| entry(At { list: name, index }, raw, bad))
        .collect()
}

/// One entry, or what is wrong with the types of its fields.
pub(in crate::sim) fn entry<T: Entry>(at: At, raw: &RawValue, bad: &mut Violations) -> Option<T> {
    // The quick way first; only an entry that fails is looked at field by field.
    let error = match serde_json::from_str(raw.get()) {
        Ok(entry) => return Some(entry),
        Err(error) => error,
    };
    let before = bad.len();
    match serde_json::from_str(raw.get()) {
        Ok(Value::Object(fields)) => {
            for &(name, kind) in T::FIELDS {
                match fields.get(name) {
                    None => bad.add(at.field(name), "is missing"),
                    Some(value) => right_type(at, name, kind, value, bad),
                }
            }
        }
        _ => bad.add(
            || format!("{}[{}]", at.list, at.index),
            format!("{} is not an object", short(raw.get())),
        ),
    }
    if bad.len() == before {
        // A field twice, for example.
        bad.add(|| format!("{}[{}]", at.list, at.index), error.to_string());
    }
    None
}

fn right_type(at: At, name: &'static str, kind: Kind, value: &Value, bad: &mut Violations) {
    let not = |what: &str, value: &Value| format!("{} is not {what}", short(&value.to_string()));
    match (kind, value) {
        (Kind::Whole, value) if value.is_i64() => {}
        (Kind::Whole, value) => bad.add(at.field(name), not("a whole number", value)),
        (Kind::Text, Value::String(_)) => {}
        (Kind::Text, value) => bad.add(at.field(name), not("a text", value)),
        (Kind::Wholes, Value::Array(list)) => {
            for (i, value) in list.iter().enumerate().filter(|(_, v)| !v.is_i64()) {
                bad.add(at.entry(name, i), not("a whole number", value));
            }
        }
        (Kind::Runs, Value::Array(list)) => {
            let whole = |value: &Value| {
                value
                    .as_array()
                    .is_some_and(|run| run.len() == 3 && run.iter().all(Value::is_i64))
            };
            for (i, value) in list.iter().enumerate().filter(|(_, v)| !whole(v)) {
                bad.add(at.entry(name, i), not("[start, length, units]", value));
            }
        }
        (Kind::Wholes | Kind::Runs, value) => bad.add(at.field(name), not("a list", value)),
    }
}

/// The beginning of a piece of JSON, for a message.
fn short(json: &str) -> String {
    const CHARS_MAX: usize = 40;
    let mut chars = json.chars();
    let mut short: String = chars.by_ref().take(CHARS_MAX).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}
