//! A store in memory for tests and simulation, on a disk model that forgets what was not synced and fails on request.
//!
//! Invariant: after a crash the disk holds all that was synced and any chosen part of the changes since; a handle from
//! before the crash can do nothing any more.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Bound, ControlFlow},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use crate::store::{
    StoreError,
    engine::KvStore,
    kv::{Change, Kv, Tree, Visit},
    meta,
};

/// A [`Store`](crate::store::Store) in memory.
pub type MemoryStore = KvStore<MemoryKv>;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call does nothing and fails.
    Error,
    /// The call fails, and half of what it was to do is on the disk for good.
    Torn,
}

/// Which of the changes since the last sync a crash leaves on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survivors {
    /// None of them, as after a power cut with a disk that writes late.
    None,
    /// All of them, as after `kill -9`.
    All,
    /// Each with probability one half, drawn from this seed, as after a power cut with a disk that re-orders.
    Half(u64),
}

/// The disk under a [`MemoryStore`]: it outlives the store, as a disk does.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    model: Arc<Mutex<Model>>,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes and syncs so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.model().calls
    }

    /// Makes the write or sync with this number (the first one is 1) fail, once.
    pub fn fail_call(&self, call: u64, fault: Fault) {
        self.model().fault = Some((call, fault));
    }

    /// Power off and on: open stores become useless, a fault still planned is forgotten.
    pub fn crash(&self, survivors: Survivors) {
        self.model().crash(survivors);
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        // A panicking test thread must not hide its own failure behind a poisoned lock.
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attach(&self) -> MemoryKv {
        MemoryKv {
            disk: self.clone(),
            boot: self.model().boot,
        }
    }
}

impl MemoryStore {
    /// A new store on its own disk.
    ///
    /// # Panics
    /// Never: a new disk has no fault planned.
    #[must_use]
    pub fn new(slot_seconds: u32, store_id: Uuid) -> Self {
        Self::open_or_create(&MemoryDisk::new(), slot_seconds, store_id)
            .expect("a new disk has no fault planned")
    }

    /// Opens the store on the disk; makes one when the disk has none.
    ///
    /// # Errors
    /// As planned for the disk; [`StoreError::SlotSeconds`] when the store was made for another slot length.
    pub fn open_or_create(
        disk: &MemoryDisk,
        slot_seconds: u32,
        store_id: Uuid,
    ) -> Result<Self, StoreError> {
        let kv = disk.attach();
        match meta::read_identity(&kv)? {
            Some(identity) => Self::recover(kv, identity, Some(slot_seconds)),
            None => Self::initialise(kv, slot_seconds, store_id),
        }
    }

    /// The disk, to fail, crash and reopen it.
    #[must_use]
    pub fn disk(&self) -> MemoryDisk {
        self.kv().disk.clone()
    }
}

/// The engine of a [`MemoryStore`].
#[derive(Debug)]
pub struct MemoryKv {
    disk: MemoryDisk,
    boot: u64,
}

impl MemoryKv {
    fn alive(&self) -> Result<MutexGuard<'_, Model>, StoreError> {
        let model = self.disk.model();
        if model.boot != self.boot {
            return Err(StoreError::Injected { call: model.calls });
        }
        Ok(model)
    }
}

impl Kv for MemoryKv {
    fn apply(&mut self, tree: Tree, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut model = self.alive()?;
        let fault = model.next_call();
        for (position, (key, value)) in changes.into_iter().enumerate() {
            let durable = match fault {
                None => false,
                Some(Fault::Torn) if position % 2 == 0 => true,
                Some(Fault::Torn | Fault::Error) => continue,
            };
            model.change(tree, key, value, durable);
        }
        model.outcome(fault)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let mut model = self.alive()?;
        let fault = model.next_call();
        match fault {
            None => model.unsynced.clear(),
            Some(Fault::Error) => {}
            Some(Fault::Torn) => {
                for change in model.unsynced.iter_mut().skip(1).step_by(2) {
                    change.durable = true;
                }
            }
        }
        model.outcome(fault)
    }

    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.alive()?.map(tree).get(key).cloned())
    }

    fn last_key(&self, tree: Tree) -> Result<Option<Vec<u8>>, StoreError> {
        let mut model = self.alive()?;
        Ok(model.map(tree).last_key_value().map(|(key, _)| key.clone()))
    }

    fn scan(&self, tree: Tree, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut model = self.alive()?;
        let range = (Bound::Included(from), Bound::Unbounded);
        for (key, value) in model.map(tree).range::<[u8], _>(range) {
            if visit(key, value)? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, revision: u64) -> Result<(), StoreError> {
        self.alive()?.acknowledged = revision;
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.disk.model().acknowledged
    }

    fn bytes_on_disk(&self) -> u64 {
        let mut model = self.disk.model();
        let mut bytes = 0;
        for tree in Tree::ALL {
            for (key, value) in model.map(tree).iter() {
                bytes += key.len() + value.len();
            }
        }
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for MemoryDisk {
    /// Leaves out what is stored: it may be large and hold what users sent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.model();
        f.debug_struct("MemoryDisk")
            .field("calls", &model.calls)
            .field("fault", &model.fault)
            .field("boot", &model.boot)
            .finish_non_exhaustive()
    }
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
struct Model {
    journal: Map,
    snapshot: Map,
    meta: Map,
    unsynced: Vec<Unsynced>,
    acknowledged: u64,
    calls: u64,
    fault: Option<(u64, Fault)>,
    boot: u64,
}

/// A change since the last sync, with what undoes it.
struct Unsynced {
    tree: Tree,
    key: Vec<u8>,
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
    durable: bool,
}

impl Model {
    fn map(&mut self, tree: Tree) -> &mut Map {
        match tree {
            Tree::Journal => &mut self.journal,
            Tree::Snapshot => &mut self.snapshot,
            Tree::Meta => &mut self.meta,
        }
    }

    fn next_call(&mut self) -> Option<Fault> {
        self.calls += 1;
        let calls = self.calls;
        self.fault
            .take_if(|(call, _)| *call == calls)
            .map(|(_, fault)| fault)
    }

    fn outcome(&self, fault: Option<Fault>) -> Result<(), StoreError> {
        match fault {
            None => Ok(()),
            Some(_) => Err(StoreError::Injected { call: self.calls }),
        }
    }

    fn set(&mut self, tree: Tree, key: &[u8], value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        match value {
            Some(value) => self.map(tree).insert(key.to_vec(), value),
            None => self.map(tree).remove(key),
        }
    }

    fn change(&mut self, tree: Tree, key: Vec<u8>, after: Option<Vec<u8>>, durable: bool) {
        let before = self.set(tree, &key, after.clone());
        self.unsynced.push(Unsynced {
            tree,
            key,
            before,
            after,
            durable,
        });
    }

    fn crash(&mut self, survivors: Survivors) {
        self.boot += 1;
        self.fault = None;
        let changes = std::mem::take(&mut self.unsynced);
        for change in changes.iter().rev() {
            self.set(change.tree, &change.key, change.before.clone());
        }
        let mut seed = match survivors {
            Survivors::None | Survivors::All => 0,
            Survivors::Half(seed) => seed,
        };
        for change in changes {
            let survives = match survivors {
                Survivors::None => false,
                Survivors::All => true,
                Survivors::Half(_) => coin(&mut seed),
            };
            if change.durable || survives {
                self.set(change.tree, &change.key, change.after);
            }
        }
    }
}

/// One bit of the splitmix64 sequence (Steele, Lea and Flood, OOPSLA 2014).
fn coin(state: &mut u64) -> bool {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) & 1 == 1
}

#[cfg(test)]
impl MemoryDisk {
    /// Loses the journal entry at a position.
    pub(super) fn remove_journal_key(&self, position: usize) {
        let mut model = self.model();
        let key = model.journal.keys().nth(position).cloned();
        model
            .journal
            .remove(&key.expect("the journal has that many keys"));
    }
}
