//! Signed statements as files, and the verdict on them; checking needs no server.
//!
//! A verdict is GOOD only for bytes that the key in question signed, each of them.

use std::path::Path;

use prost::Message as _;
use serde_json::{Value, json};

use crate::{
    cli::{
        client::ClientArgs,
        failure::Failure,
        files,
        input::{malformed, read_json},
        json as canonical,
        output::{Present, Table},
        time::View,
    },
    proto::v1,
    signing::{PublicKey, STATEMENT_TYPE},
};

const ENVELOPE: &str = "lancang.v1.SignedStatement";
const RECORD: &str = "lancang.v1.StatementRecord";

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Every byte is as it was signed with the expected key.
    Good,
    /// The same, but no key was expected.
    GoodByItsOwnKey,
    /// Something is not as it was signed.
    Altered,
    /// It was signed, but with another key than expected.
    OtherKey,
}

/// Writes an envelope as a file of canonical JSON.
pub(super) fn save(path: &Path, signed: &v1::SignedStatement) -> Result<(), Failure> {
    let mut text = canonical::write(ENVELOPE, &signed.encode_to_vec())?;
    text.push('\n');
    files::write(path, text.as_bytes())
}

/// The record in an envelope.
pub(super) fn record_of(signed: &v1::SignedStatement) -> Result<v1::StatementRecord, Failure> {
    serde_json::from_slice(&signed.payload)
        .map_err(Into::into)
        .and_then(|value: Value| canonical::read(RECORD, value))
        .map_err(|source| Failure::Json {
            message: RECORD,
            source,
        })
}

/// Reads a file and says whether it is what was signed; anything but good is a failure.
pub(super) fn verify(
    client: &ClientArgs,
    path: &Path,
    pinned: Option<&str>,
) -> Result<(), Failure> {
    let pinned = pinned.map(str::parse).transpose().map_err(Failure::Usage)?;
    let signed = read(path)?;
    let (verdict, key) = judge(&signed, pinned);
    // A payload that is as it was signed can be shown, whoever signed it; one that was altered is not repeated.
    let record = match verdict {
        Verdict::Altered => None,
        Verdict::Good | Verdict::GoodByItsOwnKey | Verdict::OtherKey => Some(record_of(&signed)?),
    };
    client.show(&Checked {
        verdict,
        key,
        record,
    })?;
    match verdict {
        Verdict::Good | Verdict::GoodByItsOwnKey => Ok(()),
        Verdict::Altered | Verdict::OtherKey => Err(Failure::Unsound(format!(
            "{} is not to be trusted",
            path.display()
        ))),
    }
}

fn read(path: &Path) -> Result<v1::SignedStatement, Failure> {
    let mut values = read_json(path)?;
    match (values.pop(), values.is_empty()) {
        (Some((_, value)), true) => canonical::read(ENVELOPE, value)
            .map_err(|error| malformed(path, vec![error.to_string()])),
        _ => Err(malformed(
            path,
            vec!["holds more than one JSON value".to_owned()],
        )),
    }
}

/// The verdict, and the key that made the signature, when one did.
fn judge(signed: &v1::SignedStatement, pinned: Option<PublicKey>) -> (Verdict, Option<PublicKey>) {
    let [signature] = signed.signatures.as_slice() else {
        return (Verdict::Altered, None);
    };
    let key = signature.public_key.parse::<PublicKey>().ok();
    // The short name is told to people, so it must not name another key either.
    let key = key.filter(|key| {
        key.id() == signature.keyid
            && key.to_string() == signature.public_key
            && signed.payload_type == STATEMENT_TYPE
            && key.has_signed(&signed.payload_type, &signed.payload, &signature.sig)
    });
    let verdict = match (key, pinned) {
        (None, _) => Verdict::Altered,
        (Some(_), None) => Verdict::GoodByItsOwnKey,
        (Some(key), Some(pinned)) if key == pinned => Verdict::Good,
        (Some(_), Some(_)) => Verdict::OtherKey,
    };
    (verdict, key)
}

/// A verdict with what it is about.
struct Checked {
    verdict: Verdict,
    key: Option<PublicKey>,
    record: Option<v1::StatementRecord>,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "GOOD",
            Self::GoodByItsOwnKey => "GOOD_BY_ITS_OWN_KEY",
            Self::Altered => "ALTERED",
            Self::OtherKey => "OTHER_KEY",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Good => "every byte is as it was signed with the expected key",
            Self::GoodByItsOwnKey => {
                "every byte is as it was signed, but anybody can sign with a key of his own: compare the key below with \
                 that of the operator, or pass it with --key"
            }
            Self::Altered => "something is not as it was signed",
            Self::OtherKey => "every byte is as it was signed, but not with the expected key",
        }
    }
}

impl Present for Checked {
    fn json(&self) -> Result<String, Failure> {
        let mut value = json!({"verdict": self.verdict.word()});
        if let Some(key) = self.key {
            value["keyId"] = key.id().into();
            value["publicKey"] = key.to_string().into();
        }
        if let Some(record) = &self.record {
            let text = canonical::write(RECORD, &record.encode_to_vec())?;
            value["record"] = serde_json::from_str(&text).map_err(|error| Failure::Json {
                message: RECORD,
                source: error.into(),
            })?;
        }
        Ok(value.to_string())
    }

    fn text(&self, view: &View) -> String {
        let mut lines = vec![format!(
            "{}: {}",
            self.verdict.word(),
            self.verdict.sentence()
        )];
        if let Some(key) = self.key {
            lines.push(format!("key {} ({key})", key.id()));
        }
        if let Some(record) = &self.record {
            lines.push(format!(
                "signed {} by store {}",
                view.time(record.sign_time.as_ref()),
                record.store_id
            ));
            let request = record.request.clone().unwrap_or_default();
            for (what, value) in [
                ("job", request.job_id),
                ("jobs that match", request.filter),
                ("site", request.site_id),
            ] {
                if !value.is_empty() {
                    lines.push(format!("of {what} {value}"));
                }
            }
            lines.push(String::new());
            lines.push(record.statement.clone().unwrap_or_default().table(view));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::time::yunnan, signing::SigningKey};

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn signed(key: &SigningKey) -> v1::SignedStatement {
        let record = v1::StatementRecord {
            store_id: "store-1".to_owned(),
            statement: Some(v1::GetStatementResponse {
                n_open_slots: 2,
                revision: u64::MAX,
                ..v1::GetStatementResponse::default()
            }),
            ..v1::StatementRecord::default()
        };
        let payload = canonical::write(RECORD, &record.encode_to_vec()).unwrap();
        v1::SignedStatement {
            payload: payload.clone().into_bytes(),
            payload_type: STATEMENT_TYPE.to_owned(),
            signatures: vec![v1::StatementSignature {
                keyid: key.public().id(),
                sig: key.sign(STATEMENT_TYPE, payload.as_bytes()),
                public_key: key.public().to_string(),
            }],
        }
    }

    #[test]
    fn a_statement_is_good_altered_or_by_another_key() {
        let (ours, other) = (key(1), key(2));
        let good = signed(&ours);
        assert_eq!(judge(&good, Some(ours.public())).0, Verdict::Good);
        assert_eq!(judge(&good, None).0, Verdict::GoodByItsOwnKey);
        assert_eq!(judge(&good, Some(other.public())).0, Verdict::OtherKey);
        // Somebody signs his own figures with his own key.
        let forged = signed(&other);
        assert_eq!(judge(&forged, Some(ours.public())).0, Verdict::OtherKey);
        // He names our key instead.
        let mut named = forged;
        named.signatures[0].public_key = ours.public().to_string();
        named.signatures[0].keyid = ours.public().id();
        assert_eq!(judge(&named, Some(ours.public())).0, Verdict::Altered);
        for change in [
            |s: &mut v1::SignedStatement| s.payload.push(b' '),
            |s: &mut v1::SignedStatement| s.payload_type.push('x'),
            |s: &mut v1::SignedStatement| s.signatures.clear(),
            |s: &mut v1::SignedStatement| s.signatures.push(s.signatures[0].clone()),
            |s: &mut v1::SignedStatement| s.signatures[0].keyid = "0".repeat(16),
            |s: &mut v1::SignedStatement| s.signatures[0].sig[0] ^= 1,
            |s: &mut v1::SignedStatement| s.signatures[0].public_key.clear(),
        ] {
            let mut changed = good.clone();
            change(&mut changed);
            assert_eq!(judge(&changed, Some(ours.public())).0, Verdict::Altered);
            assert_eq!(judge(&changed, None).0, Verdict::Altered);
        }
    }

    #[test]
    fn any_changed_letter_of_the_file_is_noticed_or_means_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.json");
        let ours = key(1);
        let good = signed(&ours);
        save(&path, &good).unwrap();
        let text = std::fs::read(&path).unwrap();
        assert_eq!(read(&path).unwrap(), good);
        for (position, letter) in text.iter().enumerate() {
            let mut changed = text.clone();
            changed[position] = if *letter == b'A' { b'B' } else { b'A' };
            std::fs::write(&path, &changed).unwrap();
            let noticed = match read(&path) {
                Ok(read) => read == good || judge(&read, Some(ours.public())).0 == Verdict::Altered,
                Err(failure) => failure.exit() == 64,
            };
            assert!(noticed, "letter {position}");
        }
    }

    #[test]
    fn the_text_says_the_verdict_the_store_and_what_is_open() {
        let ours = key(1);
        let record = record_of(&signed(&ours)).unwrap();
        let checked = Checked {
            verdict: Verdict::Good,
            key: Some(ours.public()),
            record: Some(record),
        };
        let text = checked.text(&View { zone: yunnan() });
        assert!(text.starts_with("GOOD: "), "{text}");
        assert!(text.contains("store store-1"), "{text}");
        assert!(text.contains("2 OPEN"), "{text}");
        let json: Value = serde_json::from_str(&checked.json().unwrap()).unwrap();
        assert_eq!(json["verdict"], "GOOD");
        assert_eq!(
            json["record"]["statement"]["revision"],
            u64::MAX.to_string()
        );
    }
}
