//! Reads the commands of the README and asks the program and the descriptors whether they exist.
//!
//! Nothing is started but `lancang ... --help`: its exit code says whether every verb, flag and value is understood.

use std::{path::Path, process::Command};

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};

use super::source::root;

/// Flags of grpcurl that take a value.
const GRPCURL_FLAGS_WITH_VALUE: [&str; 9] = [
    "-d",
    "-H",
    "-max-time",
    "-connect-timeout",
    "-import-path",
    "-proto",
    "-cacert",
    "-cert",
    "-key",
];

/// Services that the server offers besides its own.
const FOREIGN_METHODS: [&str; 2] = ["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"];

/// Every command in a fenced block of the README that would not work as printed.
pub(super) fn violations(readme: &str) -> Vec<String> {
    let pool = DescriptorPool::decode(lancang::proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut found = Vec::new();
    let mut n_commands = 0;
    for words in fenced_shell(readme)
        .iter()
        .flat_map(|block| commands(block))
    {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let result = match words.as_slice() {
            ["cargo", "run", rest @ ..] => {
                let at = rest.iter().position(|&word| word == "--");
                lancang_understands(at.map_or(&[], |at| &rest[at + 1..]))
            }
            [program, rest @ ..] if is_program(program, "lancang") => lancang_understands(rest),
            [program, rest @ ..] if is_program(program, "grpcurl") => grpcurl_fits(&pool, rest),
            [program, ..] if program.contains('/') => exists(program),
            _ => continue,
        };
        n_commands += 1;
        if let Err(why) = result {
            found.push(format!("README.md: `{}`: {why}", words.join(" ")));
        }
    }
    if n_commands == 0 {
        found.push("README.md: shows no command in a fenced `sh` block".to_owned());
    }
    found
}

fn is_program(word: &str, name: &str) -> bool {
    Path::new(word).file_name().is_some_and(|file| file == name)
}

fn exists(program: &str) -> Result<(), String> {
    if root().join(program).is_file() {
        Ok(())
    } else {
        Err("no such file".to_owned())
    }
}

fn lancang_understands(arguments: &[&str]) -> Result<(), String> {
    // What follows `--` is a program's.
    let own = arguments.split(|argument| *argument == "--").next();
    let output = Command::new(env!("CARGO_BIN_EXE_lancang"))
        .args(own.unwrap_or_default())
        .arg("--help")
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn grpcurl_fits(pool: &DescriptorPool, arguments: &[&str]) -> Result<(), String> {
    let mut data = None;
    let mut plain = Vec::new();
    let mut rest = arguments.iter();
    while let Some(&word) = rest.next() {
        if GRPCURL_FLAGS_WITH_VALUE.contains(&word) {
            let value = rest
                .next()
                .ok_or_else(|| format!("{word} lacks its value"))?;
            if word == "-d" {
                data = Some(*value);
            }
        } else if !word.starts_with('-') {
            plain.push(word);
        }
    }
    match plain.as_slice() {
        [_, "list"] => Ok(()),
        [_, "list" | "describe", name] => known(pool, name),
        [_, method] => call_fits(pool, method, data),
        _ => Err("neither `ADDRESS METHOD` nor `ADDRESS list|describe`".to_owned()),
    }
}

fn known(pool: &DescriptorPool, name: &str) -> Result<(), String> {
    let is_known = pool.get_service_by_name(name).is_some()
        || pool.get_message_by_name(name).is_some()
        || pool.get_enum_by_name(name).is_some()
        || method(pool, name).is_some();
    if is_known {
        Ok(())
    } else {
        Err(format!("`{name}` is in no descriptor"))
    }
}

fn call_fits(pool: &DescriptorPool, name: &str, data: Option<&str>) -> Result<(), String> {
    if FOREIGN_METHODS.contains(&name) {
        return Ok(());
    }
    let method = method(pool, name).ok_or_else(|| format!("no method `{name}`"))?;
    match data {
        // Read from the input or filled in by the shell: not known here.
        Some(data) if data == "@" || data.contains('$') => Ok(()),
        Some(data) => message_fits(&method, data),
        None => Ok(()),
    }
}

fn method(pool: &DescriptorPool, name: &str) -> Option<MethodDescriptor> {
    let (service, method) = name.rsplit_once(['/', '.'])?;
    let service = pool.get_service_by_name(service)?;
    service
        .methods()
        .find(|candidate| candidate.name() == method)
}

fn message_fits(method: &MethodDescriptor, data: &str) -> Result<(), String> {
    for value in serde_json::Deserializer::from_str(data).into_iter() {
        let mut value: serde_json::Value = value.map_err(|error| error.to_string())?;
        canonical_masks(&mut value);
        DynamicMessage::deserialize(method.input(), value).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Turns the field masks of grpcurl 1.8, `{"paths": ["a_b"]}`, into those of the JSON mapping, `"aB"`.
fn canonical_masks(value: &mut serde_json::Value) {
    let serde_json::Value::Object(fields) = value else {
        return;
    };
    if let (1, Some(serde_json::Value::Array(paths))) = (fields.len(), fields.get("paths")) {
        let paths: Vec<String> = paths
            .iter()
            .filter_map(|path| path.as_str().map(camel_case))
            .collect();
        *value = paths.join(",").into();
        return;
    }
    fields.values_mut().for_each(canonical_masks);
}

fn camel_case(path: &str) -> String {
    let mut words = path.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

/// The insides of all fenced blocks of a shell.
pub(crate) fn fenced_shell(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in markdown.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                let is_shell = ["sh", "bash", "shell", "console"].contains(&language.trim());
                open = Some((is_shell, String::new()));
            }
            (Some(_), Some(_)) => {
                blocks.extend(
                    open.take()
                        .and_then(|(is_shell, text)| is_shell.then_some(text)),
                );
            }
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The simple commands of a shell text as words; knows quotes, backslashes, comments, `|`, `&` and `;`.
fn commands(shell: &str) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut chars = shell.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let inner = chars.by_ref().take_while(|&c| c != '\'');
                word.get_or_insert_default().extend(inner);
            }
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(c) = chars.next().filter(|&c| c != '"') {
                    let escapes = c == '\\' && chars.peek().is_some_and(|c| "\"\\$`".contains(*c));
                    word.extend(if escapes { chars.next() } else { Some(c) });
                }
            }
            '\\' => {
                if let Some(next) = chars.next().filter(|&next| next != '\n') {
                    word.get_or_insert_default().push(next);
                }
            }
            '#' if word.is_none() => {
                while chars.peek().is_some_and(|&c| c != '\n') {
                    chars.next();
                }
            }
            '\n' | '|' | '&' | ';' => {
                found.last_mut().unwrap().extend(word.take());
                found.push(Vec::new());
            }
            c if c.is_whitespace() => found.last_mut().unwrap().extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    found.last_mut().unwrap().extend(word);
    found.iter_mut().for_each(drop_prompt_and_assignments);
    found.retain(|words| !words.is_empty());
    found
}

fn drop_prompt_and_assignments(words: &mut Vec<String>) {
    let is_before = |word: &str| {
        let name = word.split_once('=').map(|(name, _)| name);
        word == "$"
            || name.is_some_and(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    };
    let n_before = words.iter().take_while(|word| is_before(word)).count();
    words.drain(..n_before);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words_are_split_as_a_shell_does() {
        let found = commands("$ A=b c 'd e' \\\n  \"f \\\" g\"h # i\nj | k && l 'm\nn'");
        let expected: [&[&str]; 4] = [&["c", "d e", "f \" gh"], &["j"], &["k"], &["l", "m\nn"]];
        assert_eq!(found, expected);
    }

    #[track_caller]
    fn check(command: &str, expected: Option<&str>) {
        let found = violations(&format!("text\n```sh\n{command}\n```\n"));
        match expected {
            None => assert!(found.is_empty(), "{found:?}"),
            Some(part) => assert!(found.len() == 1 && found[0].contains(part), "{found:?}"),
        }
    }

    #[test]
    fn existing_calls_pass() {
        check("grpcurl -plaintext localhost:50051 list", None);
        check(
            "grpcurl -plaintext localhost:50051 list lancang.v1.JobService",
            None,
        );
        check(
            "grpcurl -plaintext localhost:50051 describe lancang.v1.JobSpec",
            None,
        );
        check(
            "grpcurl -plaintext -d '{\"job_id\":\"x\"}' localhost:50051 lancang.v1.JobService/GetJob",
            None,
        );
        check(
            "grpcurl -plaintext -d '{\"jobId\":\"x\",\"update_mask\":{\"paths\":[\"timing.finish_deadline\"]}}' localhost:50051 lancang.v1.JobService/UpdateJob",
            None,
        );
        check(
            "target/tools/grpcurl -plaintext localhost:50051 grpc.health.v1.Health/Check",
            None,
        );
        check("scripts/test", None);
    }

    #[test]
    fn planted_mistakes_are_found() {
        check(
            "grpcurl -plaintext localhost:50051 lancang.v1.JobService/GetJobb",
            Some("no method"),
        );
        check(
            "grpcurl -plaintext localhost:50051 list lancang.v1.JobbService",
            Some("no descriptor"),
        );
        check(
            "grpcurl -d '{\"id\":\"x\"}' localhost:50051 lancang.v1.JobService/GetJob",
            Some("id"),
        );
        check(
            "grpcurl -d '{\"job_id\":}' localhost:50051 lancang.v1.JobService/GetJob",
            Some("expected value"),
        );
        check("scripts/tset", Some("no such file"));
        check("echo nothing", Some("no command"));
    }
}
