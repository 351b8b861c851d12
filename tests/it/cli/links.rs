//! `lancang link`, and jobs with input.
//!
//! The link is that of the usual site's gateway, wide enough for all other jobs of the module.

use super::{WORLD, lancang, submitted, text};
use crate::grpcurl::{column, number};

#[test]
fn links_and_input_go_through_the_command_line() {
    let client = WORLD.get();
    let port = client.port();
    let link = |words: &[&str]| lancang(port, &[&["link", "-o", "json"], words].concat());
    let put = [
        "put",
        "mohan",
        "--bandwidth",
        "2.5Gbit/s",
        "--request-id",
        "cli-link",
    ];
    let stored = link(&put).exits(0).value();
    assert_eq!(stored["bandwidthBitsPerSecond"], "2500000000");
    assert_eq!(link(&put).exits(0).value(), stored);
    assert_eq!(link(&["get", "mohan"]).exits(0).value(), stored);
    let listed = link(&["list"]).exits(0).value();
    assert_eq!(column(&listed["links"], "gatewayId"), ["mohan"]);
    link(&["get", "nowhere"]).exits(4).says("known: mohan");
    link(&["put", "mohan", "--bandwidth", "1Gbit", "--etag", "r0"])
        .exits(6)
        .says("STALE_ETAG");
    link(&["put", "mohan", "--bandwidth", "1Gb"])
        .exits(64)
        .says("is no bandwidth");

    // 50 GB at the 2.5 Gbit/s of the link take 160 s, which are a slot.
    let flags = "--name cli-input --input-size 50GB --input-rate 10Gbit";
    let planned = submitted(&client, flags);
    let stage_in = &planned["placement"]["stageIn"];
    assert_eq!(number(&stage_in["bitsPerSecond"]), 2_500_000_000);
    assert_eq!(stage_in["gatewayId"], "mohan");
    let words = |arguments: &[&str]| -> String {
        let output = lancang(port, arguments).exits(0).stdout;
        output.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let get = words(&["job", "get", text(&planned["jobId"])]);
    assert!(get.contains("input 50.0 GB at up to 10.0 Gbit/s"), "{get}");
    assert!(
        get.contains("at 2.5 Gbit/s to baoshan through mohan"),
        "{get}"
    );
    let list = words(&["link", "list"]);
    assert!(list.contains("mohan 2.5 Gbit/s"), "{list}");
}
