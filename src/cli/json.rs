//! Canonical protobuf JSON of any message of the API, by its descriptor.
//!
//! Reading refuses unknown fields, so that a typing mistake is an error and never an ignored wish.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use crate::{
    cli::failure::{Failure, JsonError},
    proto::FILE_DESCRIPTOR_SET,
};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the build wrote these descriptors")
});

/// Canonical JSON on one line of a message given by its full name and its bytes.
pub(crate) fn write(name: &'static str, bytes: &[u8]) -> Result<String, Failure> {
    let write = || -> Result<String, JsonError> {
        let message = DynamicMessage::decode(descriptor(name)?, bytes)?;
        Ok(serde_json::to_string(&message)?)
    };
    write().map_err(|source| Failure::Json {
        message: name,
        source,
    })
}

/// The message of this full name that a JSON value spells.
pub(crate) fn read<T: Message + Default>(
    name: &str,
    value: serde_json::Value,
) -> Result<T, JsonError> {
    let message = DynamicMessage::deserialize(descriptor(name)?, value)?;
    Ok(message.transcode_to()?)
}

/// All JSON values of a text, one after the other, each with the number of its first line.
///
/// # Errors
/// The line of the first place that is no JSON, and why.
pub(crate) fn values(text: &str) -> Result<Vec<(usize, serde_json::Value)>, (usize, String)> {
    let mut values = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter();
    loop {
        let rest = &text[stream.byte_offset()..];
        let blank = rest.len() - rest.trim_start().len();
        let line = 1 + text[..stream.byte_offset() + blank].matches('\n').count();
        match stream.next() {
            None => return Ok(values),
            Some(Ok(value)) => values.push((line, value)),
            Some(Err(error)) => return Err((error.line().max(line), error.to_string())),
        }
    }
}

fn descriptor(name: &str) -> Result<MessageDescriptor, JsonError> {
    POOL.get_message_by_name(name)
        .ok_or(JsonError::UnknownMessage)
}

/// Names of an enum's values without `prefix`, in the order of the file, the unspecified one left out.
#[cfg(test)]
pub(crate) fn enum_values(name: &str, prefix: &str) -> Vec<String> {
    let descriptor = POOL.get_enum_by_name(name).unwrap();
    descriptor
        .values()
        .filter(|value| value.number() != 0)
        .map(|value| {
            value
                .name()
                .strip_prefix(prefix)
                .unwrap()
                .to_lowercase()
                .replace('_', "-")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1;

    #[test]
    fn a_job_spec_survives_json() {
        let spec = v1::JobSpec {
            name: "train".to_owned(),
            task_count: 3,
            timing: Some(v1::Timing {
                runtime: Some(prost_types::Duration {
                    seconds: 5400,
                    nanos: 0,
                }),
                ..v1::Timing::default()
            }),
            ..v1::JobSpec::default()
        };
        let text = write("lancang.v1.JobSpec", &spec.encode_to_vec()).unwrap();
        assert!(
            text.contains("\"taskCount\":3") && text.contains("\"5400s\""),
            "{text}"
        );
        let value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            read::<v1::JobSpec>("lancang.v1.JobSpec", value).unwrap(),
            spec
        );
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let value = serde_json::json!({"name": "x", "taks_count": 1});
        let error = read::<v1::JobSpec>("lancang.v1.JobSpec", value).unwrap_err();
        assert!(error.to_string().contains("taks_count"), "{error}");
    }

    #[test]
    fn values_know_their_lines() {
        let found = values("{\"a\":1}\n\n{\n\"b\":2}\n").unwrap();
        let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3]);
        assert_eq!(values("{}\n{]").unwrap_err().0, 2);
        assert!(values("  \n").unwrap().is_empty());
    }
}
