//! `lancang` as people and scripts run it, against the real server.
//!
//! Standard output carries data only, standard error says what happened, and the exit code is the documented one.

mod cut;
mod demo;
mod links;
mod load;
mod reports;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
};

use serde_json::{Value, json};

use crate::{
    grpcurl::{Client, Shared, column, hydro_of, job_at, number, time},
    support::{process::ServerProcess, samples::with},
};

/// The site of the jobs of this module.
const SITE: &str = "baoshan";

/// Nobody listens on the port of discarded data.
const NOBODY: u16 = 9;

static WORLD: Shared = Shared::new(|client| {
    client.site(SITE, 30_000);
});

/// What a run came to.
#[derive(Debug)]
struct Run {
    exit: i32,
    stdout: String,
    stderr: String,
}

/// Runs `lancang` with a server at this port.
#[track_caller]
fn lancang(port: u16, arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_lancang"))
        .args(arguments)
        .env("LANCANG_SERVER", format!("http://127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Run {
        exit: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Run {
    #[track_caller]
    fn exits(self, exit: i32) -> Self {
        assert_eq!(self.exit, exit, "{self:#?}");
        self
    }

    #[track_caller]
    fn says(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "{part:?} is not in {self:#?}");
        self
    }

    /// Every line of the output as JSON.
    #[track_caller]
    fn json(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{self:#?}")))
            .collect()
    }

    /// The only line of the output as JSON.
    #[track_caller]
    fn value(&self) -> Value {
        let [value] = self.json().try_into().unwrap();
        value
    }
}

/// The description of the usual job in flags, but for its name: 1,200 W for an hour.
const JOB: &str = "--city vientiane --runtime 1h --cores 4 --memory-mib 8192 --tasks 2 \
     --power-watts 500 --data-class none --collected-in LA --output-to LA \
     --cn-flow inbound-process-reexport --export-basis none-needed --allow-site baoshan";

/// Its window, the same for all of a run: a time told from now on would be another one with each call.
static WINDOW: LazyLock<String> =
    LazyLock::new(|| format!("--earliest-start {} --deadline {}", time(8), time(96)));

/// `job <verb>` with the usual job and more flags.
#[track_caller]
fn job(client: &Client, verb: &str, more: &str) -> Run {
    let line = format!("job {verb} -o json {JOB} {} {more}", *WINDOW);
    let arguments: Vec<&str> = line.split_whitespace().collect();
    lancang(client.port(), &arguments)
}

#[track_caller]
fn submitted(client: &Client, more: &str) -> Value {
    job(client, "submit", more).exits(0).value()["job"].clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn a_job_lives_through_its_verbs() {
    let client = WORLD.get();
    let port = client.port();
    let flags = "--name cli-life --label set=life";
    let quote = job(&client, "quote", flags).exits(0).value();
    assert_eq!(quote["placement"]["siteId"], SITE);
    assert_eq!(quote["placement"]["energy"]["hydroWattSeconds"], "4320000");

    let redeeming = format!(
        "{flags} --idempotency-key cli-life --quote-id {}",
        text(&quote["quoteId"])
    );
    let planned = submitted(&client, &redeeming);
    assert_eq!(planned["state"], "JOB_STATE_PLANNED");
    let again = job(&client, "submit", &redeeming)
        .exits(0)
        .says("this is the first job again");
    assert_eq!(again.value()["job"], planned);
    let id = text(&planned["jobId"]);

    let get = lancang(port, &["job", "get", "-o", "json", id]).exits(0);
    assert_eq!(get.value(), planned);
    let list = ["job", "list", "-o", "json", "--filter", "labels.set = life"];
    let listed = lancang(port, &list).exits(0).value();
    assert_eq!(listed["jobs"], json!([planned]));
    let explained = lancang(port, &["job", "explain", "-o", "json", id]).exits(0);
    let summary = explained.value()["summary"].clone();
    assert!(
        text(&summary).starts_with("placed at baoshan from "),
        "{summary}"
    );

    let verb = |words: &[&str]| lancang(port, &[&["job", "-o", "json"], words].concat());
    let held = verb(&["hold", id, "--reason", "tea"]).exits(0).value();
    assert_eq!(
        (&held["state"], &held["note"]),
        (&json!("JOB_STATE_HELD"), &json!("tea"))
    );
    let released = verb(&["release", id]).exits(0).value();
    assert_eq!(released["state"], "JOB_STATE_PLANNED");
    let updated = verb(&["update", id, "--label", "set=other", "--priority", "9"]).exits(0);
    let updated = updated.value()["spec"].clone();
    assert_eq!(updated["labels"], json!({ "set": "other" }));
    assert_eq!(updated["priority"], 9);
    let cancelled = verb(&["cancel", id]).exits(0);
    assert_eq!(cancelled.value()["state"], "JOB_STATE_CANCELLED");
}

#[test]
fn tables_are_for_people() {
    let client = WORLD.get();
    let flags = "--name cli-table --priority 7 --speeds 1000,1500";
    let planned = submitted(&client, flags);
    let id = text(&planned["jobId"]);
    let words = |arguments: &[&str]| -> String {
        let output = lancang(client.port(), arguments).exits(0).stdout;
        output.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let get = words(&["job", "get", id]);
    assert!(
        get.contains("name cli-table") && get.contains("state PLANNED"),
        "{get}"
    );
    assert!(
        get.contains("priority 7") && get.contains("speeds 1.000, 1.500"),
        "{get}"
    );
    let explained = words(&["job", "explain", id]);
    assert!(explained.contains("placed at baoshan"), "{explained}");
    let list = words(&["job", "list", "--filter", "name = cli-table"]);
    assert!(list.contains("cli-table 7 PLANNED baoshan"), "{list}");
    let sites = words(&["site", "list"]);
    assert!(sites.contains(SITE), "{sites}");
}

/// Commands that fail whatever they are about: exit code, arguments, and a part of what is said.
const FAILURES: [(i32, &str, &str); 12] = [
    (1, "backup --out {nowhere}", "cannot create"),
    (1, "job submit --file {nowhere}", "cannot read"),
    (
        4,
        "job get 01890a5d-ac96-774b-bcce-b302099a8057",
        "JOB_NOT_FOUND",
    ),
    (4, "site get nowhere", "known: baoshan"),
    (6, "job hold {planned} --etag r1", "STALE_ETAG"),
    (64, "job get 17", "field job_id"),
    (
        64,
        "job update {planned} --priority 11",
        "field spec.priority",
    ),
    (
        64,
        "job quote --runtime 1h --min-chunk 1h --speeds 1000,1500",
        "--speeds",
    ),
    (64, "job list --filter colour=green", "field filter"),
    (64, "job list --colour", "--colour"),
    (64, "job quote --tasks 0", "--runtime"),
    (64, "jobs", "jobs"),
];

#[test]
fn every_exit_code_is_the_documented_one() {
    let client = WORLD.get();
    let planned = submitted(&client, "--name cli-exit");
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("none/backup").display().to_string();
    let mut provoked = BTreeSet::from([0]);
    for (exit, line, said) in FAILURES {
        let line = line.replace("{nowhere}", &nowhere);
        let line = line.replace("{planned}", text(&planned["jobId"]));
        let arguments: Vec<&str> = line.split(' ').collect();
        lancang(client.port(), &arguments).exits(exit).says(said);
        provoked.insert(exit);
    }
    let quoted = job(&client, "quote", "--max-rtt 1ms").exits(2);
    // The answer is shown all the same.
    assert_eq!(quoted.value().get("placement"), None);
    quoted.says("no site can run the job");
    job(&client, "submit", "--max-rtt 1ms")
        .exits(2)
        .says("JOB_INFEASIBLE");
    lancang(NOBODY, &["job", "list"])
        .exits(69)
        .says("cannot reach http://127.0.0.1:9");
    submit_one_more_than_the_server_takes()
        .exits(75)
        .says("LIMIT_REACHED")
        .says("retry after");
    // No call is refused for who makes it, which would be 5: there are no roles yet.
    provoked.extend([2, 5, 69, 75]);

    let help = lancang(NOBODY, &["--help"]).exits(0).stdout;
    let (_, codes) = help.split_once("Exit codes:").unwrap();
    let documented: BTreeSet<i32> = codes
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    assert_eq!(provoked, documented);
}

/// Submits a second job to a server that takes one.
#[track_caller]
fn submit_one_more_than_the_server_takes() -> Run {
    let data_dir = tempfile::tempdir().unwrap();
    let mut command = ServerProcess::command(data_dir.path());
    command.env("LANCANG_LIMITS_MAX_LIVE_JOBS", "1");
    let server = ServerProcess::launch(command).unwrap();
    let client = Client::of(&server);
    client.site(SITE, 30_000);
    let held = submitted(&client, "--name first --hold");
    assert_eq!(held["state"], "JOB_STATE_HELD");
    let before = client.info()["revision"].clone();
    let run = job(&client, "submit", "--name second");
    assert_eq!(client.info()["revision"], before);
    run
}

#[test]
fn jobs_of_a_file_are_answered_each_on_its_own_or_all_at_once() {
    // A server of its own: the revision says that nothing was stored.
    let client = Client::alone();
    client.site(SITE, 30_000);
    let port = client.port();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.jsonl");
    let file = path.to_str().unwrap();
    let named = |name: &str| with(job_at(&[SITE]), "/name", name);
    let wrong = with(named("cli-file-2"), "/task_count", 0);
    let lines =
        [named("cli-file-1"), wrong.clone(), named("cli-file-3")].map(|job| job.to_string());
    fs::write(&path, lines.join("\n")).unwrap();

    let all = ["job", "submit", "--all-or-nothing", "--file", file];
    lancang(port, &all)
        .exits(64)
        .says("items[1].spec.task_count");
    let list = [
        "job",
        "list",
        "-o",
        "json",
        "--filter",
        "name = cli-file-1 OR name = cli-file-3",
    ];
    assert_eq!(lancang(port, &list).value().get("jobs"), None);

    let each = ["job", "submit", "-o", "json", "--file", file];
    let run = lancang(port, &each).exits(64).says("2 accepted, 1 refused");
    let answers = Value::from(run.json());
    assert_eq!(column(&answers, "sequence"), ["1", "2", "3"]);
    assert_eq!(answers[1]["error"]["reason"], "ERROR_REASON_INVALID_FIELDS");
    let listed = lancang(port, &list).value();
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(2));

    // A field that does not exist is a mistake, not a wish that nobody hears.
    let before = client.info()["revision"].clone();
    fs::write(
        &path,
        with(named("cli-file-4"), "/colour", "green").to_string(),
    )
    .unwrap();
    lancang(port, &each).exits(64).says("colour");
    assert_eq!(client.info()["revision"], before);
}

const HEAD: &str = "issued_at,product,supply,valid_at,p10_kw,p50_kw,p90_kw";

/// A row of a file of forecasts, for a slot from now on.
fn row(supply: &str, slots_ahead: i64, kilowatts: &str) -> String {
    format!("{},ID,{supply},{},{kilowatts}", time(-4), time(slots_ahead))
}

#[test]
fn forecasts_of_a_file_are_stored_in_watts() {
    let client = Client::alone();
    client.site("small", 30_000);
    client.site("large", 30_000);
    let [small, large] = ["small", "large"].map(hydro_of);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("good.csv");
    let rows = [
        HEAD.to_owned(),
        row(&small, 4, "10,20,30"),
        row(&small, 5, "11,21,31"),
        row(&large, 4, "40,50,60"),
    ];
    fs::write(&path, rows.join("\n")).unwrap();
    let put = |path: &Path| {
        let file = path.to_str().unwrap();
        lancang(
            client.port(),
            &["forecast", "put", "-o", "json", "--file", file],
        )
    };
    let run = put(&path).exits(0).says("2 accepted, 0 refused");
    let receipts = run.json();
    assert_eq!(number(&receipts[0]["receipt"]["coveredSlots"]), 2);
    assert_eq!(number(&receipts[1]["receipt"]["coveredSlots"]), 1);
    let id = &receipts[0]["receipt"]["forecastId"];
    let stored = client.ok("ForecastService/GetForecast", &json!({ "forecast_id": id }));
    assert_eq!(stored["forecast"]["p50Watts"], json!(["20000", "21000"]));
    put(&path)
        .exits(0)
        .says("2 were stored before with the same values");

    // Of three issues the second is above the nameplate: it is named with its lines, the others are stored.
    let rows = [
        HEAD.to_owned(),
        row(&small, 8, "10,20,30").replace(",ID,", ",WA,"),
        row(&large, 8, "40,50,61").replace(",ID,", ",DA,"),
        row(&large, 8, "40,50,60").replace(",ID,", ",WA,"),
    ];
    fs::write(&path, rows.join("\n")).unwrap();
    let run = put(&path).exits(2).says("2 accepted, 1 refused");
    assert_eq!(
        run.json()[1]["error"]["reason"],
        "ERROR_REASON_IMPLAUSIBLE_SERIES"
    );
}

#[test]
fn a_malformed_file_of_forecasts_is_not_sent_at_all() {
    let client = Client::alone();
    client.site("small", 30_000);
    let supply = hydro_of("small");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.csv");
    let before = client.info()["revision"].clone();
    let wrong: [(&[String], &str); 6] = [
        (&[], "no rows"),
        (&[row(&supply, 4, "10,x,30")], "line 2, column p50_kw"),
        (&[row(&supply, 4, "10,-20,30")], "line 2, column p50_kw"),
        (&[row(&supply, 4, "30,20,10")], "p10 <= p50 <= p90"),
        (
            &[row(&supply, 4, "1,2,3"), row(&supply, 6, "1,2,3")],
            "line 3, column valid_at",
        ),
        (
            &[
                row(&supply, 4, "1,2,3"),
                row(&supply, 4, "1,2,3").replace(",ID,", ",XX,"),
            ],
            "line 3, column product",
        ),
    ];
    for (rows, said) in wrong {
        fs::write(&path, [&[HEAD.to_owned()], rows].concat().join("\n")).unwrap();
        let put = ["forecast", "put", "--file", path.to_str().unwrap()];
        let run = lancang(client.port(), &put).exits(64).says(said);
        run.says("is not usable; nothing was sent");
    }
    // The first row is right in the last two, and yet it is not stored.
    assert_eq!(client.info()["revision"], before);
}

#[test]
fn readings_and_skill_go_through_the_command_line() {
    let client = Client::alone();
    client.site("metered", 30_000);
    client.site("second", 30_000);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("actuals.csv");
    let rows: Vec<String> = (-4..4)
        .map(|slot| format!("{},10,20", time(slot)))
        .collect();
    let head = "ts,metered_hydro,second_hydro";
    fs::write(&path, format!("{head}\n{}", rows.join("\n"))).unwrap();
    let actuals = [
        "forecast",
        "actuals",
        "-o",
        "json",
        "--file",
        path.to_str().unwrap(),
    ];
    lancang(client.port(), &actuals)
        .exits(2)
        .says("IMPLAUSIBLE_SERIES");
    let past = [&actuals[..], &["--skip-future"]].concat();
    let receipt = lancang(client.port(), &past).exits(0).value();
    // The four slots of both supplies that have ended, in one sum; the present ones have not.
    assert_eq!(number(&receipt["newSlots"]), 8);
}

#[test]
fn a_configuration_is_checked_with_all_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lancang.toml");
    let check = |text: &str| {
        fs::write(&path, text).unwrap();
        lancang(
            NOBODY,
            &["config", "check", "--config", path.to_str().unwrap()],
        )
    };
    let good = check("listen = \"127.0.0.1:0\"\nslot_minutes = 30\n[limits]\nmax_live_jobs = 5\n");
    assert_eq!(good.exits(0).stdout, "OK\n");
    check("slot_minutes = 7\nhorizon_days = 99\n[log]\nfilter = \"\"\n")
        .exits(64)
        .says("slot_minutes: 7 is none of 5, 15, 30, 60")
        .says("horizon_days: 99 is not within 1 to 31")
        .says("log.filter");
    check("colour = 1\n[limits]\nmax_jobs = 5\n")
        .exits(64)
        .says("colour")
        .says("limits.max_jobs");
    check("listen = \"0.0.0.0:1\"\n")
        .exits(64)
        .says("allow_insecure_remote");
    check("= nonsense")
        .exits(64)
        .says("the configuration is wrong");
    let shown = lancang(NOBODY, &["config", "show"]).exits(0).stdout;
    assert!(shown.contains("slot_minutes = 15"), "{shown}");
    // What cannot be checked cannot be served either.
    let serve = ["serve", "--config", path.to_str().unwrap()];
    lancang(NOBODY, &serve)
        .exits(64)
        .says("the configuration is wrong");
}

#[test]
fn a_store_is_backed_up_restored_and_verified() {
    let data_dir = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(data_dir.path());
    let client = Client::of(&server);
    client.site(SITE, 30_000);
    let planned = client.submit("kept", &job_at(&[SITE]));
    let revision = client.info()["revision"].clone();

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (file, store) = (path("backup"), path("store"));
    let backup = ["backup", "-o", "json", "--out", &file];
    let receipt = lancang(client.port(), &backup).exits(0).value();
    assert_eq!(receipt["revision"], revision);
    assert_eq!(
        number(&receipt["bytes"]),
        fs::metadata(&file).unwrap().len()
    );
    lancang(client.port(), &backup)
        .exits(64)
        .says("exists; choose another name");
    let online = lancang(client.port(), &["admin", "verify", "-o", "json"]).exits(0);
    assert_eq!(online.value()["revision"], revision);

    let in_use = data_dir.path().display().to_string();
    lancang(NOBODY, &["verify", "--data-dir", &in_use])
        .exits(1)
        .says("another process");
    assert!(server.terminate().success());
    let offline = ["verify", "-o", "json", "--data-dir", &in_use];
    let report = lancang(NOBODY, &offline).exits(0).value();
    assert_eq!(
        (&report["ok"], &report["jobs"]),
        (&json!(true), &json!("1"))
    );

    let restore = [
        "restore",
        "-o",
        "json",
        "--file",
        &file,
        "--data-dir",
        &store,
    ];
    let report = lancang(NOBODY, &restore).exits(0).value();
    assert_eq!(report["revision"], revision);
    lancang(NOBODY, &restore).exits(1).says(&store);
    lancang(NOBODY, &["verify", "--data-dir", &store]).exits(0);
    let restored = ServerProcess::start(Path::new(&store));
    assert_eq!(Client::of(&restored).job(&planned["jobId"]), planned);

    // One bit turned, or the end cut off: refused, and no store is made of it.
    let whole = fs::read(&file).unwrap();
    let mut turned = whole.clone();
    turned[whole.len() / 2] ^= 1;
    for (name, bytes) in [
        ("turned", turned.as_slice()),
        ("cut", &whole[..whole.len() - 1]),
    ] {
        let (file, store) = (path(name), path(&format!("{name}-store")));
        fs::write(&file, bytes).unwrap();
        let run = lancang(NOBODY, &["restore", "--file", &file, "--data-dir", &store]).exits(1);
        assert!(run.stderr.contains("error: "), "{run:?}");
        lancang(NOBODY, &["verify", "--data-dir", &store]).exits(1);
    }
}

#[test]
fn the_demonstration_ends_when_it_is_told_to_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lancang"));
    command
        .args(["demo", "--listen", "127.0.0.1:0"])
        .env("TMPDIR", temporary.path());
    let mut demo = ServerProcess::launch(command).unwrap();
    assert!(demo.terminate().success(), "{}", demo.log());
    let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_demonstration_prints_a_row_for_each_job_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lancang"))
        .args(["demo", "--once"])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let submitting = said
        .lines()
        .find_map(|line| line.strip_prefix("Submitting "));
    let n_jobs: usize = submitting
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(n_jobs >= 20, "{said}");
    let shown = String::from_utf8(output.stdout).unwrap();
    let (table, summary) = shown.split_once("\n\n").unwrap();
    let rows: Vec<&str> = table.lines().skip(1).collect();
    assert_eq!(rows.len(), n_jobs, "{shown}");
    let n_refused = rows.iter().filter(|row| row.contains(" refused ")).count();
    let placed = format!("{} of {n_jobs} jobs placed: ", n_jobs - n_refused);
    assert!(summary.starts_with(&placed), "{summary}");
    demo::assert_jobs_ran(summary);
    for row in rows {
        let reason =
            row.contains("_EXCEEDED") || row.contains("_MISSING") || row.contains("_INSUFFICIENT");
        assert!(row.contains(" % ") || reason, "{row}");
    }
    let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
