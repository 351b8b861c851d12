//! `lancang report export` whose stream is cut in the middle: no file, and a script can tell.
//!
//! Answers go through a relay that passes some bytes on and holds the others back until the cut, so that it is always in
//! the middle, however fast either side is.

use std::{
    fs,
    io::{self, Read as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use lancang::{
    domain::{
        attempt::Fence,
        ids::{JobId, Revision, SiteId},
        ledger::{Entry, Figures, Line},
    },
    slot::{SlotGrid, SlotRange, TimeMs},
    state::event::{Event, Record, SlotSettled},
    store::{self, SledStore, Store as _, codec},
};
use uuid::Uuid;

use super::{Run, lancang};
use crate::{
    grpcurl::Client,
    support::{
        process::ServerProcess,
        samples::{SLOT_S, create_site_named, slot_start},
    },
};

const SITE: &str = "works";
const N_SLOTS: u32 = 12;
const LINES_PER_SLOT: u32 = 4_000;
const N_LINES: u32 = N_SLOTS * LINES_PER_SLOT;
/// What the relay passes on before the cut: some messages of the many that there are.
const PASSED_BYTES: u64 = 200_000;
/// Long enough for a debug build among others.
const PATIENCE: Duration = Duration::from_secs(120);

/// What cuts the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The server is killed.
    Kill,
    /// The server is asked to stop.
    Stop,
    /// The line breaks.
    Line,
}

/// A store with very many lines of the hours before now, which nobody has to run.
fn fill(dir: &Path) {
    let mut server = ServerProcess::start(dir);
    let client = Client::at(server.port());
    client.ok("SiteService/CreateSite", &create_site_named(SITE));
    assert!(server.terminate().success());
    let grid = SlotGrid::new(900).unwrap();
    let now = TimeMs::from_seconds(slot_start(0).as_second());
    let end = grid.slot_at(now);
    let line = |number: u32| Line {
        job: JobId(number.into()),
        fence: Fence {
            site_epoch: 1,
            attempt: 1,
        },
        run_ms: 900_000,
        units: 1,
        cpu_cores: 1,
        gpus: 0,
        figures: Figures::default(),
        reserved_watt_seconds: 0,
        is_measured: false,
        is_scaled: false,
    };
    let lines: Arc<[Line]> = (1..=LINES_PER_SLOT).map(line).collect();
    let settled = |slot| SlotSettled {
        site: SiteId::parse(SITE).unwrap(),
        slot,
        entry: Entry {
            number: 1,
            at: now,
            metered_watt_seconds: 0,
            supplies: Box::default(),
            jobs: Figures::default(),
            idle: Figures::default(),
            reserved_watt_seconds: 0,
            n_lines: LINES_PER_SLOT,
            is_scaled: false,
        },
        lines: lines.clone(),
    };
    let slots = SlotRange::new(end.minus(N_SLOTS), end).iter();
    let events = slots.map(|slot| Event::SlotSettled(Arc::new(settled(slot))));
    let mut store = SledStore::open_or_create(dir, 900, Uuid::nil()).unwrap();
    let revision = store.last_revision() + 1;
    let record = Record {
        revision: Revision(revision),
        at: now,
        request: None,
        events: events.collect(),
    };
    let payload = codec::encode_record(&record);
    store
        .commit(&[store::Record { revision, payload }])
        .unwrap();
}

/// Stands between a client and a server.
struct Relay {
    port: u16,
    /// Hears when so many bytes have passed.
    held: Receiver<()>,
    /// Lets the rest pass, or ends the line when it is dropped.
    rest: Sender<()>,
    thread: JoinHandle<()>,
}

impl Relay {
    /// One that takes one connection to a server at this port.
    fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (holds, held) = mpsc::channel();
        let (rest, released) = mpsc::channel();
        let thread = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let (mut asked, mut answering) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            // Either side may be gone at any moment: that is what is tested.
            let questions = thread::spawn(move || {
                let _gone = io::copy(&mut asked, &mut answering);
            });
            let _gone = io::copy(&mut (&mut server).take(PASSED_BYTES), &mut client);
            holds.send(()).unwrap();
            if released.recv().is_ok() {
                let _gone = io::copy(&mut server, &mut client);
            }
            for side in [&client, &server] {
                let _gone = side.shutdown(Shutdown::Both);
            }
            questions.join().unwrap();
        });
        Self {
            port,
            held,
            rest,
            thread,
        }
    }
}

/// Exports everything, with the server at this port.
fn export(port: u16, out: &Path) -> Run {
    let from = slot_start(-2 * i64::from(N_SLOTS)).to_string();
    let words = [
        "report",
        "export",
        "--out",
        out.to_str().unwrap(),
        "--from",
        &from,
    ];
    lancang(port, &words)
}

#[test]
fn an_export_that_is_cut_leaves_no_file_and_what_was_there() {
    assert_eq!(SLOT_S, 900);
    let data_dir = tempfile::tempdir().unwrap();
    fill(data_dir.path());
    for cut in [Cut::Kill, Cut::Stop, Cut::Line] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("lines.csv");
        let mut server = ServerProcess::start(data_dir.path());
        let relay = Relay::to(server.port());
        let (port, to) = (relay.port, out.clone());
        let exporting = thread::spawn(move || export(port, &to));
        relay.held.recv_timeout(PATIENCE).unwrap();
        // An older file of that name is no less safe than none.
        fs::write(&out, "older").unwrap();
        match cut {
            Cut::Kill => {
                server.kill();
                relay.rest.send(()).unwrap();
            }
            Cut::Stop => {
                server.ask_to_stop();
                relay.rest.send(()).unwrap();
            }
            Cut::Line => drop(relay.rest),
        }
        let run = exporting.join().unwrap().exits(69);
        relay.thread.join().unwrap();
        let said = match cut {
            Cut::Kill | Cut::Line => "error: the connection broke: ",
            Cut::Stop => "SHUTTING_DOWN",
        };
        let run = run.says(said);
        assert_eq!(run.stdout, "", "{cut:?}");
        assert_eq!(fs::read_to_string(&out).unwrap(), "older", "{cut:?}");
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 1, "nothing else is left: {cut:?}");
        if cut == Cut::Stop {
            assert!(server.wait_exit().success());
        }
    }
    // Uncut, the same has all its lines, and takes the name.
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("lines.csv");
    let server = ServerProcess::start(data_dir.path());
    let whole = export(server.port(), &out).exits(0);
    assert!(
        whole.stdout.contains(&format!("{N_LINES} lines")),
        "{whole:?}"
    );
    let n_rows = fs::read_to_string(&out).unwrap().lines().count() - 1;
    assert_eq!(n_rows, usize::try_from(N_LINES).unwrap());
}
