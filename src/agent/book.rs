//! What an agent must not forget: attempts it took, what it began, events not yet acknowledged, fences used up.
//!
//! The book is the fold of its records; a record that is on disk is never contradicted by a later one.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    agent::attempt::{AttemptKey, Event, EventKind, Task},
    domain::ids::JobId,
    limits,
};

/// One step of the book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// Stands first in a book that was written anew: what no other record of it says.
    Base {
        /// Sequence number of the last event ever.
        last_sequence: u64,
        /// Jobs with the highest attempt that is over, the longest known first.
        used: Vec<(String, u32)>,
    },
    /// An attempt was taken.
    Accept {
        /// Which.
        key: AttemptKey,
        /// What it runs.
        task: Task,
    },
    /// The engine is about to be told to start it.
    Start {
        /// Which.
        key: AttemptKey,
    },
    /// Something happened.
    Event {
        /// Its number.
        sequence: u64,
        /// What.
        event: Event,
    },
    /// The server has everything up to here.
    Acknowledge {
        /// Number of the last event it has.
        sequence: u64,
    },
    /// An attempt is over for good.
    Forget {
        /// Which.
        key: AttemptKey,
    },
}

/// An attempt in the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What it runs.
    pub task: Task,
    /// The engine was told to start it, or was about to be.
    pub started: bool,
    /// Its begin was recorded.
    pub began: bool,
    /// It was recorded as paused last.
    pub suspended: bool,
    /// Number of the event that told its end.
    pub ended: Option<u64>,
}

/// What an agent must not forget.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    attempts: BTreeMap<AttemptKey, Held>,
    events: BTreeMap<u64, Event>,
    last_sequence: u64,
    used: BTreeMap<JobId, u32>,
    /// The jobs of `used`, the longest known first.
    used_order: VecDeque<JobId>,
}

impl Book {
    /// Attempts held, by name.
    #[must_use]
    pub fn attempts(&self) -> &BTreeMap<AttemptKey, Held> {
        &self.attempts
    }

    /// Events that the server has not acknowledged, by number.
    #[must_use]
    pub fn events(&self) -> &BTreeMap<u64, Event> {
        &self.events
    }

    /// Number of the last event ever.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Whether this fence must not begin any more: it or a later one of the job is held or over.
    #[must_use]
    pub fn is_used(&self, key: AttemptKey) -> bool {
        let over = self
            .used
            .get(&key.job_id)
            .is_some_and(|&last| key.attempt <= last);
        over || self
            .of_job(key.job_id)
            .any(|(held, _)| key.attempt <= held.attempt)
    }

    /// All attempts held of one job.
    pub fn of_job(&self, job_id: JobId) -> impl Iterator<Item = (AttemptKey, &Held)> {
        let bound = |site_epoch, attempt| AttemptKey {
            job_id,
            site_epoch,
            attempt,
        };
        self.attempts
            .range(bound(0, 0)..=bound(u64::MAX, u32::MAX))
            .map(|(&key, held)| (key, held))
    }

    /// Carries a record out; one that does not fit changes nothing.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Base {
                last_sequence,
                used,
            } => {
                self.last_sequence = *last_sequence;
                for (job, attempt) in used {
                    if let Some(job_id) = JobId::parse(job) {
                        self.use_up(job_id, *attempt);
                    }
                }
            }
            Record::Accept { key, task } => {
                self.attempts.entry(*key).or_insert_with(|| Held {
                    task: task.clone(),
                    started: false,
                    began: false,
                    suspended: false,
                    ended: None,
                });
            }
            Record::Start { key } => {
                if let Some(held) = self.attempts.get_mut(key) {
                    held.started = true;
                }
            }
            Record::Event { sequence, event } => self.apply_event(*sequence, event),
            Record::Acknowledge { sequence } => {
                self.events = self.events.split_off(&sequence.saturating_add(1));
            }
            Record::Forget { key } => {
                self.attempts.remove(key);
                self.use_up(key.job_id, key.attempt);
            }
        }
    }

    /// The shortest records that fold to this book.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let used = self.used_order.iter().filter_map(|job_id| {
            let attempt = self.used.get(job_id)?;
            Some((job_id.to_string(), *attempt))
        });
        let mut records = vec![Record::Base {
            last_sequence: self.last_sequence,
            used: used.collect(),
        }];
        for (&key, held) in &self.attempts {
            let task = held.task.clone();
            records.push(Record::Accept { key, task });
            if held.started {
                records.push(Record::Start { key });
            }
            // Its begin may be acknowledged and gone from the events.
            records.extend(held.marks(key));
        }
        records.extend(self.events.iter().map(|(&sequence, event)| Record::Event {
            sequence,
            event: event.clone(),
        }));
        records
    }

    fn apply_event(&mut self, sequence: u64, event: &Event) {
        let is_end = match (&event.kind, self.attempts.get_mut(&event.key)) {
            (EventKind::Started(_), Some(held)) => {
                held.began = true;
                false
            }
            (EventKind::Suspended, Some(held)) => {
                held.suspended = true;
                false
            }
            (EventKind::Resumed, Some(held)) => {
                held.suspended = false;
                false
            }
            (EventKind::Ended(_), Some(held)) => {
                held.ended = Some(sequence);
                false
            }
            (EventKind::Ended(_) | EventKind::Declined(_), None) => true,
            (EventKind::Accepted | EventKind::Declined(_), Some(_)) | (_, None) => false,
        };
        if is_end {
            self.use_up(event.key.job_id, event.key.attempt);
        }
        // Number 0 is a mark only.
        let last = self.events.last_key_value().map_or(0, |(&last, _)| last);
        if sequence > last {
            self.last_sequence = self.last_sequence.max(sequence);
            self.events.insert(sequence, event.clone());
        }
    }

    fn use_up(&mut self, job_id: JobId, attempt: u32) {
        let last = self.used.entry(job_id).or_insert_with(|| {
            self.used_order.push_back(job_id);
            0
        });
        *last = (*last).max(attempt);
        if self.used_order.len() > limits::AGENT_USED_FENCES_MAX
            && let Some(oldest) = self.used_order.pop_front()
        {
            self.used.remove(&oldest);
        }
    }
}

impl Held {
    /// Events with number 0, which leave their marks on the attempt and nothing else.
    fn marks(&self, key: AttemptKey) -> impl Iterator<Item = Record> {
        let began = self.began.then(|| EventKind::Started(String::new()));
        let suspended = self.suspended.then_some(EventKind::Suspended);
        began
            .into_iter()
            .chain(suspended)
            .map(move |kind| Record::Event {
                sequence: 0,
                event: Event {
                    key,
                    time: crate::slot::TimeMs(0),
                    kind,
                },
            })
    }
}
