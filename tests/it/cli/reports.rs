//! `lancang report` against a server with one settled slot: tables, files, pages and signed statements.
//!
//! Every sum is compared with `GetStatement`, every verdict with its exit code.

use std::{fs, path::Path};

use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, Row},
};
use serde_json::Value;

use super::{NOBODY, Run, lancang};
use crate::{
    grpcurl::{Client, number, reports::settled},
    support::process::ServerProcess,
};

/// The window of the settled slot and the open ones after it; the server's clock stands in 2026.
const WINDOW: [&str; 4] = ["--from", "2026-11-24T08:00", "--to", "2026-11-24T08:15"];

fn report(client: &Client, words: &[&str]) -> Run {
    lancang(client.port(), &[&["report"], words].concat())
}

/// The statement of the window as the API has it.
fn statement(client: &Client) -> Value {
    let words = [&["jobs", "-o", "json"][..], &WINDOW].concat();
    report(client, &words).exits(0).value()
}

fn job_of(client: &Client) -> String {
    let words = [&["jobs", "-o", "json", "--group-by", "job"][..], &WINDOW].concat();
    let stated = report(client, &words).exits(0).value();
    stated["rows"][0]["jobId"].as_str().unwrap().to_owned()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn tables_say_all_figures_and_what_is_missing() {
    let client = settled();
    let job = job_of(&client);
    // Since it was submitted: the slot that is settled.
    let said = words(&report(&client, &["job", &job]).exits(0).stdout);
    // 1,080,000 Ws, of which 900,000 are green and 1,080,000 were reserved; begun at once it would have had a half.
    for part in [
        "site-slots 1 settled, none open",
        "green, whole sites 50.0 % matched slot by slot; 50.0 % by volume",
        "energy 0.300 kWh: hydro 0.250, solar 0.000, wind 0.000, grid 0.050",
        "green, of jobs 83.3 % matched slot by slot",
        "promised green 0.300 kWh reserved, 0.250 kWh of it delivered (83.3 %)",
        "carbon location",
        "cost",
        "water",
        "measured 0.000 kWh (0.0 %) measured, 0.300 kWh estimated",
        "had it run at once 50.0 % green instead of 83.3 % (1 jobs compared)",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("idle and overhead"), "{said}");

    let by = [
        "jobs",
        "--filter",
        "labels.tenant = \"film\"",
        "--group-by",
        "month,label:tenant",
    ];
    let said = words(
        &report(&client, &[&by[..], &WINDOW].concat())
            .exits(0)
            .stdout,
    );
    assert!(said.contains("2026-11 film 1 0.300 83.3 %"), "{said}");
    assert!(said.contains("total 1 0.300 83.3 %"), "{said}");
}

#[test]
fn site_slots_are_told_with_what_they_wait_for() {
    let client = settled();
    let job = job_of(&client);
    let slot = |words: &[&str]| {
        let words = [
            &["settlements", "-o", "json", "--from", "2026-11-24T07:45"],
            words,
        ]
        .concat();
        report(&client, &words).exits(0).value()["settlements"]
            .as_array()
            .map_or(0, Vec::len)
    };
    let (all, open) = (
        slot(&["works", "--to", "2026-11-24T08:15"]),
        slot(&["--open"]),
    );
    assert!(all >= 1 && open < all.max(2), "{all} {open}");
    let said = report(&client, &["site", "works", "--month", "2026-11"])
        .exits(0)
        .stdout;
    assert!(
        words(&said).contains("idle and overhead 0.200 kWh"),
        "{said}"
    );

    let said = words(
        &report(&client, &["slot", "works", "2026-11-24T08:07"])
            .exits(0)
            .stdout,
    );
    for part in [
        "state SETTLED",
        "metered 0.500 kWh",
        "works/hydro",
        &job,
        "estimated",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    report(&client, &["site", "nowhere"])
        .exits(4)
        .says("SITE_NOT_FOUND");
    report(&client, &["jobs", "--group-by", "day,month"])
        .exits(64)
        .says("group_by");
}

/// The names of the sums of a statement and of the columns that must add up to them.
const SUMS: [(&str, &str); 12] = [
    ("/total/runMs", "run_ms"),
    ("/total/cpuCoreMs", "cpu_core_ms"),
    (
        "/total/figures/energy/hydroWattSeconds",
        "hydro_watt_seconds",
    ),
    (
        "/total/figures/energy/solarWattSeconds",
        "solar_watt_seconds",
    ),
    ("/total/figures/energy/windWattSeconds", "wind_watt_seconds"),
    ("/total/figures/energy/gridWattSeconds", "grid_watt_seconds"),
    ("/total/figures/carbon/locationMg", "carbon_location_mg"),
    ("/total/figures/carbon/contractMg", "carbon_contract_mg"),
    ("/total/figures/carbon/marginalMg", "carbon_marginal_mg"),
    ("/total/figures/costMicroCny", "cost_micro_cny"),
    ("/total/figures/waterMl", "water_ml"),
    ("/total/reservedWattSeconds", "reserved_watt_seconds"),
];

fn parquet_sum(rows: &[Row], column: &str) -> u64 {
    let cell = |row: &Row| {
        let found = row.get_column_iter().find(|(name, _)| *name == column);
        match found.unwrap().1 {
            Field::ULong(value) => *value,
            other => panic!("{column} is {other:?}"),
        }
    };
    rows.iter().map(cell).sum()
}

#[test]
fn exported_lines_add_up_to_the_statement() {
    let client = settled();
    let dir = tempfile::tempdir().unwrap();
    let export = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let words = [
            &["export", "--out", out.to_str().unwrap()][..],
            &WINDOW,
            more,
        ]
        .concat();
        (report(&client, &words), out)
    };
    let (run, parquet) = export("lines.parquet", &["-o", "json"]);
    let receipt = run.exits(0).value();
    assert_eq!(
        (&receipt["lines"], &receipt["openSlots"]),
        (&"1".into(), &"0".into())
    );
    let (run, csv) = export("lines.txt", &["--format", "csv"]);
    assert!(run.exits(0).stdout.contains("1 lines"));
    let reader = SerializedFileReader::new(fs::File::open(parquet).unwrap()).unwrap();
    let rows: Vec<Row> = reader
        .get_row_iter(None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut table = csv::Reader::from_path(csv).unwrap();
    let heads = table.headers().unwrap().clone();
    let records: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let stated = statement(&client);
    let energy = stated
        .pointer("/total/figures/energy/hydroWattSeconds")
        .unwrap();
    assert_eq!(number(energy), 900_000);
    for (sum, column) in SUMS {
        // What is 0 is left out of JSON.
        let expected = stated.pointer(sum).map_or(0, number);
        assert_eq!(parquet_sum(&rows, column), expected, "{column}");
        let position = heads.iter().position(|head| head == column).unwrap();
        let cell = |record: &csv::StringRecord| record[position].parse::<u64>().unwrap();
        assert_eq!(records.iter().map(cell).sum::<u64>(), expected, "{column}");
    }

    let (run, nothing) = export("none.csv", &["--site", "nowhere"]);
    run.exits(4).says("SITE_NOT_FOUND");
    assert!(!nothing.exists());
    let (run, _) = export("lines", &[]);
    run.exits(64).says("--format");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_page_is_one_file_that_needs_nothing_else() {
    let client = settled();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("page.html");
    let words = [
        "page",
        "works",
        "--month",
        "2026-11",
        "--out",
        out.to_str().unwrap(),
    ];
    report(&client, &words).exits(0);
    let html = fs::read_to_string(&out).unwrap();
    for outside in ["http://", "https://", "<script", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    for part in [
        "matched slot by slot",
        "Carbon, three ways",
        "Jobs by energy",
        "1 of 1 jobs",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
}

fn key_of(port: u16) -> String {
    let key = lancang(port, &["report", "key", "-o", "json"])
        .exits(0)
        .value();
    key["publicKey"].as_str().unwrap().to_owned()
}

fn verify(file: &Path, more: &[&str]) -> Run {
    let words = [&["report", "verify", file.to_str().unwrap()][..], more].concat();
    lancang(NOBODY, &words)
}

#[test]
fn a_signed_statement_is_checked_without_the_server() {
    let client = settled();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("statement.json");
    let (job, key) = (job_of(&client), key_of(client.port()));
    let words = ["job", &job, "--sign", "--out", file.to_str().unwrap()];
    let shown = report(&client, &words).exits(0).says("written to").stdout;
    assert!(words_of_energy(&shown));
    let good = verify(&file, &["--key", &key]).exits(0).stdout;
    assert!(
        good.starts_with("GOOD: ") && words_of_energy(&good),
        "{good}"
    );
    assert!(good.contains(&job), "{good}");
    let unpinned = verify(&file, &[]).exits(0).stdout;
    assert!(unpinned.starts_with("GOOD_BY_ITS_OWN_KEY: "), "{unpinned}");
    let checked = verify(&file, &["--key", &key, "-o", "json"])
        .exits(0)
        .value();
    assert_eq!(checked["verdict"], "GOOD");
    assert_eq!(checked["record"]["request"]["jobId"], *job);
    let energy = &checked["record"]["statement"]["total"]["figures"]["energy"];
    assert_eq!(number(&energy["hydroWattSeconds"]), 900_000);

    // A real server has a key of its own, which did not sign this.
    let data_dir = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(data_dir.path());
    let other = key_of(server.port());
    assert_ne!(other, key);
    let refused = verify(&file, &["--key", &other]).exits(1);
    assert!(refused.stdout.starts_with("OTHER_KEY: "), "{refused:?}");

    let text = fs::read_to_string(&file).unwrap();
    let mut envelope: Value = serde_json::from_str(&text).unwrap();
    let payload = envelope["payload"].as_str().unwrap().to_owned();
    let (at, letter) = (
        payload.len() / 2,
        &payload[payload.len() / 2..=payload.len() / 2],
    );
    let swapped = if letter == "A" { "B" } else { "A" };
    envelope["payload"] = format!("{}{swapped}{}", &payload[..at], &payload[at + 1..]).into();
    fs::write(&file, envelope.to_string()).unwrap();
    let altered = verify(&file, &["--key", &key])
        .exits(1)
        .says("not to be trusted");
    assert!(altered.stdout.starts_with("ALTERED: "), "{altered:?}");
    assert!(!altered.stdout.contains("kWh"), "{altered:?}");
    verify(&file, &["--key", "12"])
        .exits(64)
        .says("no public key");
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    verify(&file, &[]).exits(64).says("not usable");
}

fn words_of_energy(text: &str) -> bool {
    words(text).contains("energy 0.300 kWh: hydro 0.250")
}

#[test]
fn the_key_of_a_server_stays_and_a_new_file_is_a_new_key() {
    let data_dir = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(data_dir.path());
    let first = key_of(server.port());
    assert!(server.terminate().success());
    let file = data_dir.path().join("signing.key");
    let kept = fs::read_to_string(&file).unwrap();
    // What is kept is the private key, and nobody is told it.
    assert_ne!(kept.trim(), first);
    let mut server = ServerProcess::start(data_dir.path());
    assert_eq!(key_of(server.port()), first);
    assert!(server.terminate().success());
    fs::remove_file(&file).unwrap();
    let server = ServerProcess::start(data_dir.path());
    assert_ne!(key_of(server.port()), first);
}
