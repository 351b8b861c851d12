//! Certificates: who may connect, and what each certificate serves for, against the real server.
//!
//! All certificates are made by the tests; time limits are those of the certificates themselves.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use crate::{
    agent::process::until,
    support::{
        grpcurl::{Grpcurl, GrpcurlOutput},
        process::ServerProcess,
        samples::{create_site_named, job_spec, put_latencies, with},
    },
};

/// A server that asks for certificates, and the authorities around it.
struct World {
    server: ServerProcess,
    ours: Authority,
    strangers: Authority,
}

/// An authority that keeps what it signs in files.
struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in files.
struct Signed {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            directory,
            issuer: Issuer::new(params, key),
        }
    }

    /// The authority's own certificate.
    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    fn sign(&self, file: &str, names: &[&str]) -> Signed {
        self.sign_until(file, names, 4000)
    }

    /// Signs a certificate that ends with a year.
    fn sign_until(&self, file: &str, names: &[&str], year: i32) -> Signed {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let at = |ending: &str| self.directory.path().join(format!("{file}.{ending}"));
        fs::write(at("pem"), certificate.pem()).unwrap();
        fs::write(at("key"), key.serialize_pem()).unwrap();
        Signed {
            certificate: at("pem"),
            key: at("key"),
        }
    }

    fn agent_of(&self, site: &str) -> Signed {
        self.sign(site, &[&format!("{site}.agents.lancang.internal")])
    }
}

impl World {
    fn start() -> Self {
        let ours = Authority::new();
        let server = ours.sign("server", &["127.0.0.1"]);
        let mut command = ServerProcess::command(&ours.directory.path().join("store"));
        command
            .env("LANCANG_TLS_CERTIFICATE", &server.certificate)
            .env("LANCANG_TLS_KEY", &server.key)
            .env("LANCANG_TLS_CLIENT_CA", ours.file());
        Self {
            server: ServerProcess::launch(command).unwrap(),
            ours,
            strangers: Authority::new(),
        }
    }

    /// A call that must go well enough to be answered.
    fn call(&self, signed: Option<&Signed>, method: &str, message: &Value) -> GrpcurlOutput {
        self.try_call("20", signed, method, message)
    }

    /// The same, given up after some seconds of trying to connect.
    fn try_call(
        &self,
        patience: &str,
        signed: Option<&Signed>,
        method: &str,
        message: &Value,
    ) -> GrpcurlOutput {
        let mut call = Grpcurl::new(self.server.port(), method)
            .encrypted()
            .flag("-cacert", text(&self.ours.file()))
            .flag("-connect-timeout", patience)
            .message(message);
        if let Some(signed) = signed {
            call = call
                .flag("-cert", text(&signed.certificate))
                .flag("-key", text(&signed.key));
        }
        call.run()
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.server.port())
    }

    /// The flags of a command that shows a certificate.
    fn flags(&self, signed: &Signed) -> Vec<String> {
        let ca = self.ours.file();
        [
            "--server",
            &self.url(),
            "--tls-ca",
            text(&ca),
            "--tls-certificate",
            text(&signed.certificate),
            "--tls-key",
            text(&signed.key),
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn enroll(site: &str) -> Value {
    json!({
        "site_id": site,
        "token": "no-such-token",
        "instance_id": "01900000-0000-7000-8000-000000000001",
    })
}

#[test]
fn only_who_shows_a_valid_certificate_of_the_authority_is_heard() {
    let world = &World::start();
    let none = json!({});
    let operator = world.ours.sign("operator", &["operator"]);
    let heard = world.call(Some(&operator), "AdminService/GetServerInfo", &none);
    heard.assert_code(Code::Ok);
    let stranger = world.strangers.sign("stranger", &["operator"]);
    let expired = world.ours.sign_until("expired", &["operator"], 2001);
    for shown in [None, Some(&stranger), Some(&expired)] {
        let refused = world.try_call("2", shown, "AdminService/GetServerInfo", &none);
        assert_eq!(refused.code, None, "{refused:#?}");
        assert!(refused.messages.is_empty(), "{refused:#?}");
    }
    let plain = Grpcurl::new(world.server.port(), "AdminService/GetServerInfo")
        .flag("-connect-timeout", "2")
        .message(&none)
        .run();
    assert_eq!(plain.code, None, "{plain:#?}");
}

#[test]
fn the_certificate_of_an_agent_serves_for_its_own_site_alone() {
    let world = &World::start();
    let operator = world.ours.sign("someone", &["someone"]);
    for site in ["dali", "lijiang"] {
        let create = create_site_named(site);
        world
            .call(Some(&operator), "SiteService/CreateSite", &create)
            .assert_code(Code::Ok);
    }
    let agent = world.ours.agent_of("dali");
    let refused = "CERTIFICATE_REFUSED";
    let call =
        |shown: &Signed, method: &str, message: Value| world.call(Some(shown), method, &message);
    // Its own site: the certificate is in order, so that the token is what is wrong.
    call(&agent, "AgentService/EnrollAgent", enroll("dali"))
        .assert_error(Code::PermissionDenied, "TOKEN_REFUSED");
    call(&agent, "AgentService/EnrollAgent", enroll("lijiang"))
        .assert_error(Code::PermissionDenied, refused);
    call(&agent, "JobService/ListJobs", json!({})).assert_error(Code::PermissionDenied, refused);
    call(&operator, "AgentService/EnrollAgent", enroll("dali"))
        .assert_error(Code::PermissionDenied, refused);
    let both = world.ours.sign(
        "both",
        &[
            "dali.agents.lancang.internal",
            "lijiang.agents.lancang.internal",
        ],
    );
    call(&both, "AgentService/EnrollAgent", enroll("dali"))
        .assert_error(Code::PermissionDenied, refused);
    let report = json!({ "report": {
        "site_id": "lijiang",
        "instance_id": "01900000-0000-7000-8000-000000000001",
    }});
    for method in ["AgentService/Poll", "AgentService/Session"] {
        let mut speak = Grpcurl::new(world.server.port(), method)
            .encrypted()
            .flag("-cacert", text(&world.ours.file()))
            .flag("-cert", text(&agent.certificate))
            .flag("-key", text(&agent.key))
            .flag("-H", "authorization: Bearer nothing");
        speak = speak.message(&report);
        speak.run().assert_error(Code::PermissionDenied, refused);
    }
    until("each refusal is in the trail", || {
        let log = world.server.log();
        let trail = log.lines().filter(|line| line.contains(" audit: "));
        let told = trail.filter(|line| line.contains("reason=\"CERTIFICATE_REFUSED\""));
        (told.count() == 6).then_some(())
    });
}

#[test]
fn the_commands_and_the_agent_speak_with_certificates() {
    let world = &World::start();
    let operator = world.ours.sign("planner", &["planner"]);
    for (method, message) in [
        ("SiteService/CreateSite", create_site_named("baoshan")),
        ("SiteService/PutLatencies", put_latencies(&["baoshan"])),
    ] {
        let answer = world.call(Some(&operator), method, &message);
        answer.assert_code(Code::Ok);
    }
    let lancang = |arguments: &[&str], shown: &Signed| {
        let output = Command::new(env!("CARGO_BIN_EXE_lancang"))
            .args(arguments)
            .args(world.flags(shown))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (
            output.status.code(),
            text + &String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (exit, said) = lancang(&["site", "get", "baoshan"], &operator);
    assert_eq!(exit, Some(0), "{said}");
    let stranger = world.strangers.sign("planner", &["planner"]);
    let (exit, said) = lancang(&["site", "get", "baoshan"], &stranger);
    assert_eq!(exit, Some(69), "{said}");

    let request = json!({ "site_id": "baoshan" });
    let made = world.call(Some(&operator), "SiteService/CreateAgentToken", &request);
    let token = made.ok()["token"].as_str().unwrap().to_owned();
    let agent = world.ours.agent_of("baoshan");
    let directory = tempfile::tempdir().unwrap();
    let mut running = Command::new(env!("CARGO_BIN_EXE_lancang"))
        .args(["agent", "--site", "baoshan", "--dir"])
        .arg(directory.path().join("agent"))
        .args(world.flags(&agent))
        .env("LANCANG_AGENT_TOKEN", token)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Work that has a program is placed only where an agent has reported.
    let spec = with(job_spec(), "/data_policy/allowed_sites", vec!["baoshan"]);
    let spec = with(spec, "/execution/argv", vec!["true"]);
    until("the agent enrols", || {
        let quote = world.call(
            Some(&operator),
            "JobService/QuoteJob",
            &json!({ "spec": spec }),
        );
        quote.ok().get("placement").map(|_| ())
    });
    running.kill().unwrap();
    running.wait().unwrap();
}
