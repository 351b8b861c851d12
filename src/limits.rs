//! Every bound of the system in one place, each with its reason.
//!
//! Nothing grows without a bound named here; at the bound the answer is a typed refusal.

/// Length of an idempotency key or request id in bytes: a UUID, a URN or a build path fits.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// Length of a name or id in bytes: a DNS label.
pub const NAME_BYTES_MAX: usize = 63;
/// Length of a supply id in bytes: two names and a slash.
pub const SUPPLY_ID_BYTES_MAX: usize = 2 * NAME_BYTES_MAX + 1;
/// Length of a display name in bytes.
pub const DISPLAY_NAME_BYTES_MAX: usize = 128;
/// Length of a reason given by a person in bytes: a paragraph.
pub const REASON_BYTES_MAX: usize = 512;
/// Length of a reference of evidence in bytes.
pub const EVIDENCE_BYTES_MAX: usize = 256;
/// Labels of a job: enough for every cost centre, few enough to scan.
pub const LABELS_MAX: usize = 32;
/// Length of a label's value in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 128;
/// Entries of a list of countries, sites or bases in a data policy.
pub const POLICY_LIST_MAX: usize = 64;
/// Tasks of a job.
pub const TASKS_MAX: u32 = 1_000_000;
/// IT power of one task in watts: a rack row, far above any node.
pub const TASK_POWER_WATTS_MAX: u64 = 1_000_000;
/// CPU cores of one task or node.
pub const NODE_CORES_MAX: u32 = 4_096;
/// Memory of one task or node in MiB (64 TiB).
pub const NODE_MEMORY_MIB_MAX: u64 = 64 << 20;
/// GPUs of one task or node.
pub const NODE_GPUS_MAX: u32 = 256;
/// Nodes of a pool.
pub const POOL_NODES_MAX: u32 = 1_000_000;
/// Pools of a site: the timetable keeps a column for each.
pub const POOLS_MAX: usize = 16;
/// Supplies of a site.
pub const SUPPLIES_MAX: usize = 32;
/// Sites of a server: every decision looks at each.
pub const SITES_MAX: usize = 256;
/// Speeds of a malleable job, one for each number of units: with one alone it would not be malleable, and above 64
/// no job scales.
pub const SPEEDS: std::ops::RangeInclusive<usize> = 2..=64;
/// Priority of a job: ten steps, as people can tell apart.
pub const PRIORITY: std::ops::RangeInclusive<u32> = 1..=10;
/// Priority of a job that names none.
pub const PRIORITY_DEFAULT: u32 = 5;
/// Power of a site or supply in watts. With [`PRICE_MICRO_CNY_PER_KWH_MAX`] and [`HORIZON_SLOTS_MAX`] it keeps
/// every sum of power times price over a horizon below 2^64.
pub const SITE_POWER_WATTS_MAX: u64 = 1_000_000_000;
/// Price of energy in micro-CNY per kWh (2 CNY): above the caps of the spot markets.
pub const PRICE_MICRO_CNY_PER_KWH_MAX: u64 = 2_000_000;
/// Carbon intensity in milligrams per kWh: above any lignite plant.
pub const CARBON_MG_PER_KWH_MAX: u32 = 2_000_000;
/// PUE in thousandths, from perfect to hopeless.
pub const PUE_PERMILLE: std::ops::RangeInclusive<u32> = 1_000..=3_000;
/// Entries of a tariff: 12 months of 24 hours.
pub const TARIFF_PERIODS_MAX: usize = 288;
/// Weights of a job in micro-CNY per unit: 1000 CNY per kWh, kg or hour.
pub const WEIGHT_MICRO_CNY_MAX: u64 = 1_000_000_000;
/// Weight of the energy cost in thousandths.
pub const WEIGHT_COST_PERMILLE_MAX: u32 = 1_000_000;
/// Windows of a site that are not over: a month of daily ones, and some.
pub const SITE_WINDOWS_MAX: usize = 32;
/// Latency zones.
pub const ZONES_MAX: usize = 1_024;
/// Cities of a zone.
pub const ZONE_CITIES_MAX: usize = 256;
/// Round-trip times in one call.
pub const LATENCIES_PER_CALL_MAX: usize = 10_000;
/// A round-trip time or budget in microseconds: 10 s.
pub const RTT_US_MAX: u32 = 10_000_000;
/// Links of a server: one for the gateway of each site.
pub const LINKS_MAX: usize = SITES_MAX;
/// Bandwidth of a link in bits per second: a thousand fibres of 1 Tbit/s.
pub const LINK_BITS_PER_SECOND_MAX: u64 = 1_000_000_000_000_000;
/// Input of a job in bytes (1 PiB): two and a half hours at [`STAGING_BITS_PER_SECOND_MAX`].
pub const INPUT_BYTES_MAX: u64 = 1 << 50;
/// Bandwidth of one transfer in bits per second: so many of these as a server has jobs stay below 2^64.
pub const STAGING_BITS_PER_SECOND_MAX: u64 = 1_000_000_000_000;
/// Bandwidth of one transfer when the job states none: what one ordinary network card sends.
pub const STAGING_BITS_PER_SECOND_DEFAULT: u64 = 1_000_000_000;
/// Slots of the planning horizon: 31 days of 5 minutes.
pub const HORIZON_SLOTS_MAX: u32 = 31 * 288;
/// Slots that a forecast issue or a call of actuals may cover: 28 days of 15 minutes.
pub const SERIES_SLOTS_MAX: usize = 2_688;
/// Forecast issues kept for one supply; the oldest that rule no slot of the horizon go first.
pub const ISSUES_PER_SUPPLY_MAX: usize = 512;
/// Days for which actuals are kept for skill; the ledger keeps its own.
pub const ACTUALS_DAYS_MAX: u32 = 62;
/// Jobs of one `SubmitJobs` call.
pub const BATCH_JOBS_MAX: usize = 1_000;
/// Page size when none is asked for.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// Page size at most.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// Length of a list filter in bytes.
pub const FILTER_BYTES_MAX: usize = 2_048;
/// Nesting of a list filter.
pub const FILTER_DEPTH_MAX: usize = 32;
/// Snapshots kept for running listings; the oldest goes first.
pub const LISTINGS_MAX: usize = 64;
/// Messages waiting for the controller; above it callers are told to come back.
pub const MAILBOX_MAX: usize = 8_192;
/// Commands that share one durable write.
pub const COMMIT_BATCH_MAX: usize = 4_096;
/// Job changes kept in memory for watchers.
pub const WATCH_HISTORY_EVENTS_MAX: usize = 65_536;
/// Watch streams at once.
pub const WATCHERS_MAX: usize = 10_000;
/// Messages waiting in one stream for a slow reader before it is cut.
pub const STREAM_BUFFER_MAX: usize = 1_024;
/// Placement changes that `ExplainJob` remembers of one job.
pub const PLACEMENT_HISTORY_MAX: usize = 16;
/// Attempts of one job in all: what fails 16 times fails again.
pub const ATTEMPTS_MAX: u32 = 16;
/// Attempts of one job that are kept: all that count, unless agents decline again and again.
pub const ATTEMPTS_KEPT_MAX: usize = 16;
/// Longest pause before another attempt, milliseconds.
pub const RETRY_BACKOFF_MS_MAX: u64 = 3_600_000;
/// Pause before another attempt where a job names none, milliseconds.
pub const RETRY_BACKOFF_MS_DEFAULT: u64 = 30_000;
/// Longest time between SIGTERM and SIGKILL, milliseconds.
pub const STOP_GRACE_MS_MAX: u64 = 3_600_000;
/// Time between SIGTERM and SIGKILL where a job names none, milliseconds.
pub const STOP_GRACE_MS_DEFAULT: u64 = 30_000;
/// Longest time between SIGTERM and SIGKILL for what the data rules forbid where it runs, milliseconds: enough to end in
/// order, whatever the job asked for.
pub const FORBIDDEN_GRACE_MS_MAX: u64 = 30_000;
/// Longest time between a checkpoint signal and the pause or stop, milliseconds: a run of four slots is no shorter.
pub const CHECKPOINT_GRACE_MS_MAX: u64 = 3_600_000;
/// Time between a checkpoint signal and the pause or stop where a job names none, milliseconds.
pub const CHECKPOINT_GRACE_MS_DEFAULT: u64 = 30_000;
/// Files and directories that are brought in for a job, and as many that are brought out: more belongs into a directory.
pub const TRANSFERS_MAX: usize = 64;
/// Bytes of a name in a staging area: with the root before it, what Linux takes for a path.
pub const STAGED_NAME_BYTES_MAX: usize = 1_024;
/// Bytes of one part of such a name: what file systems take.
pub const STAGED_PART_BYTES_MAX: usize = 255;
/// Tries to copy one file or directory: what fails three times fails again.
pub const STAGE_TRIES_MAX: u32 = 3;
/// Program and arguments of a job: more belongs into its input.
pub const ARGV_MAX: usize = 256;
/// Bytes of program and arguments, half of what Linux takes for one argument.
pub const ARGV_BYTES_MAX: usize = 64 << 10;
/// Variables of a job's environment.
pub const ENVIRONMENT_MAX: usize = 64;
/// Bytes of a job's environment.
pub const ENVIRONMENT_BYTES_MAX: usize = 32 << 10;
/// Refused reports kept of one site as evidence.
pub const EVIDENCE_MAX: usize = 16;
/// How far the clock of a site may be from the server's before its times are refused, milliseconds: a clock that nobody
/// sets drifts so far in months.
pub const EVENT_TIME_SKEW_MS: i64 = 300_000;
/// How much more energy than stated power times run time is believed, thousandths: stated power is an estimate.
pub const ENERGY_TOLERANCE_PERMILLE: u64 = 250;
/// Run time that is added before energy is judged, milliseconds: what a meter's interval and the start take.
pub const ENERGY_TOLERANCE_MS: u64 = 60_000;
/// Processes of one agent that are remembered as replaced.
pub const REPLACED_PROCESSES_MAX: usize = 8;
/// Attempts that one agent holds: what a large cluster runs at once.
pub const HELD_ATTEMPTS_MAX: usize = 10_000;
/// Bytes of the version that an agent reports.
pub const AGENT_VERSION_BYTES_MAX: usize = 64;
/// Events in one report of an agent; the rest follows in the next.
pub const REPORT_EVENTS_MAX: usize = 256;
/// Bytes of an agent's message about one attempt.
pub const ATTEMPT_MESSAGE_BYTES_MAX: usize = 4_096;
/// Characters of an engine's name for an attempt.
pub const ENGINE_ID_BYTES_MAX: usize = 128;
/// Pause before a job is offered again that an agent did not take, milliseconds.
pub const DECLINED_PAUSE_MS: u64 = 30_000;
/// How long after its start deadline a job that was offered in time may begin, milliseconds: the slot that it was planned
/// for may begin with the deadline, and its site takes some heartbeats to hear of it and to say so.
pub const START_GRACE_MS: i64 = 60_000;
/// How long an attempt may run past its placement before its slots are taken from others, milliseconds.
pub const OVERRUN_GRACE_MS: i64 = 60_000;
/// Longest life of an agent's token, milliseconds.
pub const AGENT_TOKEN_MS_MAX: i64 = 7 * 86_400_000;
/// Life of an agent's token where none is asked for, milliseconds.
pub const AGENT_TOKEN_MS_DEFAULT: i64 = 3_600_000;
/// Size of a request message in bytes: 1000 jobs of a few KiB.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Streams of one HTTP/2 connection: tonic itself has no cap.
pub const HTTP2_STREAMS_MAX: u32 = 256;
/// Placements that a quote answers with besides the best.
pub const QUOTE_ALTERNATIVES_MAX: usize = 16;
/// Work of one search for an interruptible job, in table cells over all sites and pools; longer cases use coarser pieces.
pub const INTERRUPTIBLE_CELLS_MAX: usize = 1_500_000;
/// Slots of runtime whose placements share one record: at worst about 8 bytes each, half of what the store takes.
pub const RECORD_SLOTS_MAX: u64 = 4_000_000;
/// Ended jobs that are kept; beyond it the oldest go before their time.
pub const ENDED_JOBS_MAX: usize = 500_000;
/// Request ids that are remembered; beyond it new ones are refused until old ones are forgotten.
pub const REQUEST_IDS_MAX: usize = 1_000_000;
/// Things that one record forgets: the writer goes on with the next one when it is idle.
pub const FORGET_EVENTS_MAX: usize = 4_000;
/// Round-trip times that are kept: 256 sites and a thousand cities.
pub const LATENCIES_MAX: usize = 262_144;
/// Records before a stop after which a change may still be due for re-planning at the next start.
pub const RECENT_RECORDS_MAX: u64 = 1_000;
/// Work of one step of re-planning, in slots looked at (a table cell counts as eight): about a tenth of a second.
pub const REPLAN_WORK_MAX: u64 = 30_000_000;
/// Jobs that one step of re-planning looks at: the mailbox waits no longer than that takes.
pub const REPLAN_CANDIDATES_MAX: usize = 768;
/// Jobs that move for one that has no room: what a person can still follow, and one record easily holds.
pub const CHAIN_MOVES_MAX: usize = 16;
/// Stretches of slots tried for one job that has no room: those after the first few seldom help.
pub const CHAIN_TRIES_MAX: usize = 8;
/// Planned jobs of one site that a chain looks at, the earliest first: a walk of a fraction of a millisecond.
pub const CHAIN_LOOK_MAX: usize = 2_048;
/// Work after which a chain is given up, in slots looked at: about ten milliseconds of the writer.
pub const CHAIN_WORK_MAX: u64 = 3_000_000;
/// Jobs in the queue for which one step of re-planning tries chains: together no longer than another step.
pub const CHAINS_PER_STEP_MAX: usize = 8;
/// Jobs in the queue for which chains are tried in one slot: at worst a few seconds of the writer in a quarter of an hour.
pub const CHAINS_PER_SLOT_MAX: usize = 512;
/// Wrong fields or refusals in the details of one status: more than a form has, little enough for any client's headers.
pub const STATUS_DETAILS_MAX: usize = 128;
/// Submissions read from a stream that share one message to the controller.
pub const STREAM_CHUNK_MAX: usize = 256;
/// Forecast issues read from a stream at once; each may be as long as a series.
pub const FORECAST_CHUNK_MAX: usize = 32;
/// Chunks of one stream that wait for the controller while more is read.
pub const STREAM_CHUNKS_IN_FLIGHT_MAX: usize = 4;
/// Bytes of the requests of one chunk, but for the last of them: four chunks stay below what one reader is worth.
pub const STREAM_CHUNK_BYTES_MAX: usize = 1 << 20;
/// Bytes of the answer to a batch: below the 4 MiB that clients accept by default.
pub const BATCH_ANSWER_BYTES_MAX: usize = 3 << 20;
/// Sites whose first refusal an item of a long batch answer still names.
pub const BATCH_REFUSAL_SITES_MAX: usize = 8;
/// Backups at once: each reads a whole state.
pub const BACKUPS_MAX: usize = 4;
/// Checks of the whole store at once: the writer waits for each.
pub const VERIFICATIONS_MAX: usize = 1;
/// Open connections; above it callers wait to be accepted.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Seconds that a new connection has for its HTTP/2 preface; from then on pings find out who is gone.
pub const PREFACE_SECONDS_MAX: u64 = 10;
/// Seconds for which a stream may be unable to send before it is cut.
pub const STREAM_STALL_SECONDS_MAX: u64 = 60;
/// Commits that a watcher takes from the history at once.
pub const WATCH_COMMITS_AT_ONCE_MAX: usize = 64;
/// Seconds that calls in flight get to finish when the server stops.
pub const DRAIN_SECONDS_MAX: u64 = 10;
/// Bytes of an instance or schedule file, unpacked: two million jobs.
pub const INSTANCE_BYTES_MAX: usize = 1 << 30;
/// Slots of an instance: a year of quarter hours, and some.
pub const INSTANCE_SLOTS_MAX: usize = 40_000;
/// Jobs of an instance.
pub const INSTANCE_JOBS_MAX: usize = 2_000_000;
/// Units of a malleable job.
pub const UNITS_MAX: usize = 64;
/// Thousandths of work in one slot, whatever the units.
pub const SPEED_MAX: i64 = 1_000_000_000;
/// Thousandths of work of a job.
pub const WORK_MAX: i64 = 1_000_000_000_000;
/// Violations that are told of one file: enough to see the pattern.
pub const VIOLATIONS_MAX: usize = 100;
/// Events that an agent keeps for a server that does not acknowledge them; beyond it nothing new is taken.
pub const AGENT_EVENTS_MAX: usize = 65_536;
/// Jobs of which an agent remembers that an attempt ended, so that a late order does not start it again.
pub const AGENT_USED_FENCES_MAX: usize = 65_536;
/// Ended attempts whose files an agent keeps for a look at their logs; the oldest go first.
pub const AGENT_ENDED_KEPT_MAX: usize = 256;
/// Time for which an agent keeps the files of an ended attempt, seconds: a week, so that a failure of Friday can be read on Monday.
pub const AGENT_ENDED_KEPT_SECONDS_MAX: u64 = 7 * 86_400;
/// Bytes that the working directories of ended attempts take together at an agent when it is not told otherwise: what a
/// data disk has to spare, and room for a look at what the last attempts left.
pub const AGENT_WORK_BYTES_DEFAULT: u64 = 64 << 30;
/// What a file in such a directory counts at least, bytes: a million empty ones cost as much as a large one to count and
/// to remove.
pub const AGENT_WORK_FILE_BYTES_MIN: u64 = 64 << 10;
/// Time for which an agent keeps what a paused job has saved, seconds: a month; one that has not gone on by then has ended
/// elsewhere, or begins anew.
pub const AGENT_PAUSED_KEPT_SECONDS_MAX: u64 = 31 * 86_400;
/// Bytes of logs in one message: several of them stay below what a heartbeat may wait for on a slow line.
pub const LOG_CHUNK_BYTES_MAX: usize = 64 << 10;
/// Chunks that wait for one reader of logs; a reader costs so many and one more on its way.
pub const LOG_CHUNKS_WAITING_MAX: usize = 2;
/// Readers of logs at once.
pub const LOG_READERS_MAX: usize = 256;
/// Readers of logs at once whose attempts are at one site.
pub const LOG_READERS_PER_AGENT_MAX: usize = 16;
/// Lines before the end that a reader of logs can ask for: more than the files hold of any but the shortest lines.
pub const LOG_TAIL_LINES_MAX: u32 = 1_000_000;
/// Directories that an agent keeps for jobs that go on after a pause; beyond it those of the oldest jobs go.
pub const AGENT_PAUSED_KEPT_MAX: usize = 1_024;
/// Bytes of an agent's journal after which it is written anew, when that makes it much shorter.
pub const AGENT_JOURNAL_BYTES_MAX: u64 = 8 << 20;
/// Bytes of orders that an agent reads: ten thousand attempts, some of them with all that they may carry.
pub const AGENT_ORDERS_BYTES_MAX: usize = 64 << 20;
/// Bytes of one answer of slurmrestd: forty thousand jobs of some 3.2 kB.
pub const SLURM_ANSWER_BYTES_MAX: usize = 128 << 20;
/// Bytes of one log file of an attempt; each output has two, of which the older one is dropped.
pub const ATTEMPT_LOG_BYTES_MAX: u64 = 4 << 20;
/// Open files of one process of an attempt.
pub const ATTEMPT_OPEN_FILES_MAX: u64 = 4_096;
/// Processes and threads of an attempt: far above what a node runs well.
pub const ATTEMPT_PROCESSES_MAX: u64 = 8_192;
/// Spans of an attempt that are kept: beyond it the shortest pause counts as run time. Pauses by plan are fewer.
pub const SPANS_MAX: usize = 64;
/// Earlier entries of a site-slot that are kept: more corrections of one slot are a fault of who sends them.
pub const ENTRIES_KEPT_MAX: usize = 8;
/// Water used at a site in millilitres per kWh (100 l): fifty times what is usual.
pub const WATER_ML_PER_KWH_MAX: u32 = 100_000;
/// Uses and lines that the ledger keeps in all; beyond it the oldest days close before their time. A few hundred bytes each.
pub const LEDGER_ROWS_MAX: usize = 4_000_000;
/// Lines after which a turn of the writer begins no other slot: some ten milliseconds.
pub const SETTLE_LINES_MAX: usize = 10_000;
/// Site-slots that one turn of the writer settles.
pub const SETTLE_SLOTS_MAX: usize = 64;
/// Lines of one site-slot, which are one record: with those of a turn before it they fit into a commit. Two hundred
/// programs may start and end each second of a quarter of an hour; a slot with more stays open and says so.
pub const SLOT_LINES_MAX: usize = 200_000;
/// Measured energy of a job in thousandths of what its power makes in the same time: what meters and estimates may differ by.
pub const MEASURED_PERMILLE_MAX: u64 = 1_250;
/// Days for which lines, uses and readings are kept, at most: actuals must be there for corrections.
pub const LEDGER_LINES_DAYS: std::ops::RangeInclusive<u32> = 1..=60;
/// Rows of a statement: what a person or a page can still use.
pub const STATEMENT_ROWS_MAX: usize = 10_000;
/// Groups of a statement.
pub const STATEMENT_GROUPS_MAX: usize = 3;
/// Days of a window of the ledger.
pub const LEDGER_WINDOW_DAYS_MAX: u32 = 400;
/// Lines of one site-slot that `GetSettlement` answers with; `StreamLines` sends all.
pub const SETTLEMENT_LINES_MAX: usize = 1_000;
/// Lines in one message of a stream: some hundred KiB.
pub const LINES_PER_MESSAGE_MAX: usize = 256;
/// Streams of lines at once: each keeps a whole state.
pub const LINES_STREAMS_MAX: usize = 16;
/// Days for which totals of site-slots are kept, at most: two years and some.
pub const LEDGER_KEEP_DAYS_MAX: u32 = 800;
