//! grpcurl as a test drives it: JSON in, JSON messages or a parsed `google.rpc.Status` out.
//!
//! A missing grpcurl fails the test; `scripts/test` fetches it.

use std::{
    env,
    io::{Seek, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tonic::Code;

/// Package of a method or service that is named without one.
const PACKAGE: &str = "lancang.v1";

/// Domain of every `google.rpc.ErrorInfo` of the server.
const ERROR_DOMAIN: &str = "lancang.v1";

/// grpcurl 1.8 exits with this number plus the gRPC code.
const EXIT_CODE_BASE: i32 = 64;

/// One call, to be filled in and run.
pub(crate) struct Grpcurl {
    port: u16,
    method: String,
    input: String,
    flags: Vec<String>,
    is_plain: bool,
}

/// What became of a call.
#[derive(Debug)]
pub(crate) struct GrpcurlOutput {
    /// The gRPC code; `None` when grpcurl itself refused the input or found no server.
    pub(crate) code: Option<Code>,
    /// The messages of the response: one for a unary call.
    pub(crate) messages: Vec<Value>,
    /// The `google.rpc.Status` as JSON, with its details resolved; null on success.
    pub(crate) status: Value,
    pub(crate) stderr: String,
}

/// Calls a method, `Service/Method` of `lancang.v1` or a full name, with one message.
#[track_caller]
pub(crate) fn grpcurl(port: u16, method: &str, message: &Value) -> GrpcurlOutput {
    Grpcurl::new(port, method).message(message).run()
}

impl Grpcurl {
    pub(crate) fn new(port: u16, method: &str) -> Self {
        let is_full = method.find('.') < method.find('/') && method.contains('.');
        let method = if is_full {
            method.to_owned()
        } else {
            format!("{PACKAGE}.{method}")
        };
        Self {
            port,
            method,
            input: String::new(),
            flags: Vec::new(),
            is_plain: true,
        }
    }

    /// Speaks TLS; which certificates is said by flags.
    pub(crate) fn encrypted(mut self) -> Self {
        self.is_plain = false;
        self
    }

    /// Adds a message; several make a client stream.
    pub(crate) fn message(self, message: &Value) -> Self {
        self.text(&message.to_string())
    }

    /// Adds input as it is, for what no `Value` can hold.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.input.push_str(text);
        self.input.push('\n');
        self
    }

    /// Adds a flag of grpcurl, `-max-time 2` for a watch that does not end.
    pub(crate) fn flag(mut self, flag: &str, value: &str) -> Self {
        self.flags.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    #[track_caller]
    pub(crate) fn run(self) -> GrpcurlOutput {
        // A file, not a pipe: a long stream in and a long stream out cannot block each other.
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(self.input.as_bytes()).unwrap();
        input.rewind().unwrap();
        let output = Command::new(program())
            .args(self.is_plain.then_some("-plaintext"))
            .args(["-format-error", "-d", "@"])
            .args(&self.flags)
            .arg(format!("127.0.0.1:{}", self.port))
            .arg(&self.method)
            .stdin(Stdio::from(input))
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        GrpcurlOutput::parse(output.status.code(), &stdout, stderr)
    }
}

impl GrpcurlOutput {
    fn parse(exit_code: Option<i32>, stdout: &str, stderr: String) -> Self {
        let code = match exit_code {
            Some(0) => Some(Code::Ok),
            Some(code) if code > EXIT_CODE_BASE => Some(Code::from(code - EXIT_CODE_BASE)),
            _ => None,
        };
        let messages = serde_json::Deserializer::from_str(stdout).into_iter();
        // The status follows whatever grpcurl has to say on its own.
        let status = stderr
            .find('{')
            .and_then(|at| serde_json::from_str(stderr[at..].trim()).ok());
        Self {
            code,
            messages: messages.map(Result::unwrap).collect(),
            status: status.unwrap_or_default(),
            stderr,
        }
    }

    /// The only message of a call that went well.
    #[track_caller]
    pub(crate) fn ok(&self) -> &Value {
        self.assert_code(Code::Ok);
        let [message] = self.messages.as_slice() else {
            panic!("not one message but {}: {self:#?}", self.messages.len());
        };
        message
    }

    #[track_caller]
    pub(crate) fn assert_code(&self, code: Code) {
        assert_eq!(self.code, Some(code), "{self:#?}");
    }

    /// Asserts the code and the reason in `google.rpc.ErrorInfo`, the name without `ERROR_REASON_`.
    #[track_caller]
    pub(crate) fn assert_error(&self, code: Code, reason: &str) {
        self.assert_code(code);
        let Some(info) = self.detail("ErrorInfo") else {
            panic!("no google.rpc.ErrorInfo: {self:#?}");
        };
        assert_eq!(info["reason"], reason, "{self:#?}");
        assert_eq!(info["domain"], ERROR_DOMAIN, "{self:#?}");
        assert_ne!(self.status["message"].as_str().unwrap_or_default(), "");
    }

    /// Asserts that exactly these fields are named as wrong, in any order.
    #[track_caller]
    pub(crate) fn assert_violations(&self, fields: &[&str]) {
        let mut found: Vec<&str> = self.violations().iter().map(|&(field, _)| field).collect();
        let mut expected = fields.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{self:#?}");
    }

    /// Field and description of every `google.rpc.BadRequest` violation.
    pub(crate) fn violations(&self) -> Vec<(&str, &str)> {
        let Some(detail) = self.detail("BadRequest") else {
            return Vec::new();
        };
        let list = detail["fieldViolations"].as_array();
        list.into_iter()
            .flatten()
            .map(|entry| (text(entry, "field"), text(entry, "description")))
            .collect()
    }

    /// A detail by the short name of its type in `google.rpc`.
    pub(crate) fn detail(&self, name: &str) -> Option<&Value> {
        let type_url = format!("type.googleapis.com/google.rpc.{name}");
        let details = self.status["details"].as_array()?;
        details
            .iter()
            .find(|detail| detail["@type"] == type_url.as_str())
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

/// grpcurl by `LANCANG_GRPCURL`, as fetched by `scripts/test`, or from the path.
#[track_caller]
pub(crate) fn program() -> PathBuf {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/grpcurl");
    let on_path = env::var_os("PATH").into_iter().flat_map(|path| {
        env::split_paths(&path)
            .map(|folder| folder.join("grpcurl"))
            .collect::<Vec<_>>()
    });
    env::var_os("LANCANG_GRPCURL")
        .map(PathBuf::from)
        .into_iter()
        .chain([fetched])
        .chain(on_path)
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!(
                "grpcurl is missing: run `scripts/test --tools`, or set LANCANG_GRPCURL to its path"
            )
        })
}
