//! Calls of agents that are refused, and what is asked about them.
//!
//! Reports under a credential are checked through the generated client, in `api::evidence`.

use serde_json::json;
use tonic::Code;

use super::{Details, check, refused};
use crate::{
    grpcurl::Client,
    support::samples::{SITE, create_site},
};

const ENROLL: &str = "AgentService/EnrollAgent";
const POLL: &str = "AgentService/Poll";
const SESSION: &str = "AgentService/Session";
const TOKEN: &str = "SiteService/CreateAgentToken";
const EVIDENCE: &str = "SiteService/ListRefusedReports";

const NOWHERE: &str = "nowhere";
const INSTANCE: &str = "01900000-0000-7000-8000-000000000001";

calls! { fields();
    "enrolment of nothing": ENROLL {} => ["site_id", "token", "instance_id"];
    "enrolment by a path": ENROLL {
        "site_id": "../x", "token": "t", "instance_id": INSTANCE,
    } => ["site_id"];
    "token for nobody": TOKEN { "site_id": NOWHERE } => (SITE_NOT_FOUND of NOWHERE);
    "token of a moment": TOKEN { "site_id": SITE, "valid_for": "59s" } => ["valid_for"];
    "token for ever": TOKEN { "site_id": SITE, "valid_for": "604801s" } => ["valid_for"];
    "evidence of no site": EVIDENCE {} => ["site_id"];
    "evidence of nobody": EVIDENCE { "site_id": NOWHERE } => (SITE_NOT_FOUND of NOWHERE);
    "evidence on a page of -1": EVIDENCE { "site_id": SITE, "page_size": -1 } => ["page_size"];
    "evidence after no page": EVIDENCE { "site_id": SITE, "page_token": "x" } => ["page_token"];
}

#[test]
fn agents_without_a_right_are_refused() {
    let client = Client::alone();
    client.ok("SiteService/CreateSite", &create_site());
    let guessed = json!({ "site_id": SITE, "token": "guessed", "instance_id": INSTANCE });
    let report = json!({ "report": { "site_id": SITE, "instance_id": INSTANCE } });
    let unknown = (Code::Unauthenticated, "AGENT_REFUSED");
    let rows = vec![
        refused(
            "enrolment by a wrong token",
            ENROLL,
            guessed,
            (Code::PermissionDenied, "TOKEN_REFUSED"),
            Details::None,
        ),
        refused(
            "poll without a credential",
            POLL,
            report.clone(),
            unknown,
            Details::None,
        ),
        refused(
            "session without a credential",
            SESSION,
            report,
            unknown,
            Details::None,
        ),
    ];
    check(&client, [fields(), rows].concat());
}
