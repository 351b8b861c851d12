//! The shape of an instance file, field by field.
//!
//! Holds what the file says; only the reader knows whether it makes sense.

use serde::{Deserialize, Serialize};

/// The version of the format that this program reads and writes.
pub const VERSION: i64 = 1;

/// An instance file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Document {
    /// Version of the format.
    pub version: i64,
    /// Name of the instance.
    pub name: String,
    /// Length of a slot, minutes.
    pub slot_minutes: i64,
    /// Number of slots.
    pub slots: i64,
    /// Sites; jobs name them by position.
    pub sites: Vec<SiteEntry>,
    /// Links; jobs name them by position.
    pub links: Vec<LinkEntry>,
    /// Jobs.
    pub jobs: Vec<JobEntry>,
}

/// A site of an instance file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteEntry {
    /// Its id.
    pub id: String,
    /// Capacity: CPU cores, GPUs, GiB.
    pub cap: Vec<i64>,
    /// Most power at the meter, watts.
    pub power_cap_w: i64,
    /// Power at the meter for a thousand watts of IT power.
    pub pue_milli: i64,
    /// Green power by slot, watts.
    pub green_w: Vec<i64>,
    /// Price of a watt-slot of grid energy by slot.
    pub weight: Vec<i64>,
}

/// A link of an instance file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkEntry {
    /// Its id.
    pub id: String,
    /// Bandwidth, Mbit/s.
    pub cap_mbps: i64,
}

/// A job of an instance file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEntry {
    /// Its id.
    pub id: i64,
    /// Slot in which it becomes known.
    pub arrival: i64,
    /// First slot in which it may run: its arrival plus its stage-in.
    pub release: i64,
    /// Slot by whose beginning it must have ended.
    pub deadline: i64,
    /// `rigid`, `interruptible` or `malleable`.
    pub class: String,
    /// CPU cores, GPUs and GiB of one unit.
    pub req: Vec<i64>,
    /// IT power of one unit, watts.
    pub power_w: i64,
    /// Slots of work.
    pub duration: i64,
    /// Positions of the sites that may run it.
    pub sites: Vec<i64>,
    /// Position of the link of its stage-in, -1 for none.
    pub link: i64,
    /// Slots of its stage-in.
    pub xfer_slots: i64,
    /// Bandwidth of its stage-in, Mbit/s.
    pub xfer_mbps: i64,
    /// Least useful slots of a run.
    pub min_chunk: i64,
    /// Slots lost at the beginning of each run after the first.
    pub resume_slots: i64,
    /// Thousandths of work in a slot by number of units.
    pub speed: Vec<i64>,
    /// Thousandths of work to do.
    pub work: i64,
    /// What it is worth, 1 to 10.
    pub value: i64,
    /// Whose it is; placement does not depend on it.
    #[serde(default)]
    pub tenant: i64,
}
