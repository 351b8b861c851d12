//! When agents were last heard, by the monotonic clock of this process.
//!
//! After a start every site counts as just heard, and while most sites are silent at once nothing is given up: then the
//! fault is more likely here than there.

use std::{collections::BTreeMap, sync::Arc};

use imbl::OrdMap;

use crate::{
    domain::{ids::SiteId, job::Job},
    slot::TimeMs,
    state::State,
};

/// For how long an agent may be silent, milliseconds; each longer than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// An agent reports at least this often.
    pub heartbeat_ms: u64,
    /// After so much silence nobody knows what runs at the site.
    pub silent_after_ms: u64,
    /// After so much silence the agent stops what it runs, by its own clock.
    pub stop_after_ms: u64,
    /// After so much silence what ran there is given up, and may run elsewhere.
    pub lost_after_ms: u64,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            heartbeat_ms: 5_000,
            silent_after_ms: 30_000,
            stop_after_ms: 300_000,
            lost_after_ms: 600_000,
        }
    }
}

/// What silence has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Silence {
    None,
    /// Nobody knows.
    Silent,
    /// Nothing of it can run any more.
    Lost,
}

/// The last word of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// When, by the monotonic clock of this process.
    pub mono_ms: u64,
    /// When, by the wall clock.
    pub at: TimeMs,
    /// Attempts that it holds.
    pub n_held: usize,
    /// Version of its program; empty when it does not say.
    pub version: Arc<str>,
}

/// The last word of every agent.
#[derive(Debug)]
pub(super) struct Leases {
    times: LeaseTimes,
    started_ms: u64,
    heard: OrdMap<SiteId, Heard>,
    /// Whether somebody was heard, or forgotten, since that was last asked.
    has_news: bool,
    /// Sites where an earlier agent may still run something, and since when it is not spoken for.
    orphaned_ms: BTreeMap<SiteId, u64>,
}

impl Heard {
    /// Whether that was lately.
    #[must_use]
    pub fn is_live(&self, times: LeaseTimes, mono_ms: u64) -> bool {
        mono_ms.saturating_sub(self.mono_ms) < times.silent_after_ms
    }
}

impl Leases {
    pub(super) fn new(times: LeaseTimes, mono_ms: u64) -> Self {
        Self {
            times,
            started_ms: mono_ms,
            heard: OrdMap::new(),
            has_news: false,
            orphaned_ms: BTreeMap::new(),
        }
    }

    /// The leases after a start: every agent counts as just heard, also one that was replaced and may still run something.
    pub(super) fn of(state: &State, times: LeaseTimes, mono_ms: u64) -> Self {
        let mut leases = Self::new(times, mono_ms);
        for agent in state.agents().values() {
            let is_earlier = |job: &Arc<Job>| {
                let last = job.work.as_deref().and_then(|work| work.last());
                last.is_some_and(|last| last.fence.site_epoch < agent.epoch)
            };
            if state.active_at(&agent.site).any(is_earlier) {
                leases.replace(&agent.site, mono_ms);
            }
        }
        leases
    }

    pub(super) fn hear(&mut self, site: &SiteId, heard: Heard) {
        self.heard.insert(site.clone(), heard);
        self.has_news = true;
    }

    /// Nothing is waited for at a site any more.
    pub(super) fn forget(&mut self, site: &SiteId) {
        self.heard.remove(site);
        self.orphaned_ms.remove(site);
        self.has_news = true;
    }

    /// What was heard last of every agent since the start, when that is news.
    pub(super) fn take_news(&mut self) -> Option<OrdMap<SiteId, Heard>> {
        std::mem::take(&mut self.has_news).then(|| self.heard.clone())
    }

    /// Another agent speaks for the site from now on.
    pub(super) fn replace(&mut self, site: &SiteId, mono_ms: u64) {
        self.orphaned_ms.insert(site.clone(), mono_ms);
    }

    /// Whether the site's agent was heard lately, so that it can be offered work.
    pub(super) fn is_live(&self, site: &SiteId, mono_ms: u64) -> bool {
        let heard = self.heard.get(site);
        heard.is_some_and(|heard| heard.is_live(self.times, mono_ms))
    }

    /// What the silence of each of these sites has come to.
    pub(super) fn judge(&self, sites: &[SiteId], mono_ms: u64) -> Vec<Silence> {
        let silence = |site: &SiteId| {
            let heard = self.heard.get(site).map(|heard| heard.mono_ms);
            let last = heard.unwrap_or(self.started_ms);
            // An agent that is new has its time to say something, however long the site was silent before it.
            let enrolled = self.orphaned_ms.get(site).copied();
            let since = enrolled.map_or(last, |enrolled| enrolled.max(last));
            let ms = mono_ms.saturating_sub(since);
            if ms >= self.times.lost_after_ms {
                Silence::Lost
            } else if ms >= self.times.silent_after_ms {
                Silence::Silent
            } else {
                Silence::None
            }
        };
        let mut judged: Vec<Silence> = sites.iter().map(silence).collect();
        let n_silent = judged.iter().filter(|one| **one != Silence::None).count();
        let most_are_silent = 2 <= n_silent && sites.len() < 2 * n_silent;
        if most_are_silent {
            for one in &mut judged {
                *one = (*one).min(Silence::Silent);
            }
        }
        judged
    }

    /// Sites where nothing of an earlier agent can run any more; each is told once.
    pub(super) fn take_orphaned(&mut self, mono_ms: u64) -> Vec<SiteId> {
        let lost_after_ms = self.times.lost_after_ms;
        let is_due = |since: &u64| mono_ms.saturating_sub(*since) >= lost_after_ms;
        let due = self.orphaned_ms.iter().filter(|(_, since)| is_due(since));
        let due: Vec<SiteId> = due.map(|(site, _)| site.clone()).collect();
        for site in &due {
            self.orphaned_ms.remove(site);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: LeaseTimes = LeaseTimes {
        heartbeat_ms: 1,
        silent_after_ms: 10,
        stop_after_ms: 20,
        lost_after_ms: 40,
    };

    fn heard(mono_ms: u64) -> Heard {
        Heard {
            mono_ms,
            at: TimeMs(0),
            n_held: 0,
            version: Arc::default(),
        }
    }

    fn sites(names: &[&str]) -> Vec<SiteId> {
        let names = names.iter();
        names.map(|name| SiteId::parse(name).unwrap()).collect()
    }

    #[test]
    fn silence_grows_from_the_last_word_or_the_start() {
        let all = sites(&["a", "b", "c", "d", "e"]);
        let mut leases = Leases::new(TIMES, 100);
        assert!(!leases.is_live(&all[0], 100));
        for site in &all[1..] {
            leases.hear(site, heard(109));
        }
        let first = |leases: &Leases, at| leases.judge(&all, at)[0];
        assert_eq!(first(&leases, 109), Silence::None);
        assert_eq!(first(&leases, 110), Silence::Silent);
        for site in &all[1..] {
            leases.hear(site, heard(139));
        }
        assert_eq!(first(&leases, 139), Silence::Silent);
        assert_eq!(first(&leases, 140), Silence::Lost);
        assert!(leases.is_live(&all[1], 148) && !leases.is_live(&all[1], 149));
    }

    #[test]
    fn while_most_are_silent_nothing_is_given_up() {
        let all = sites(&["a", "b", "c"]);
        let mut leases = Leases::new(TIMES, 0);
        assert_eq!(leases.judge(&all, 1_000), [Silence::Silent; 3]);
        leases.hear(&all[0], heard(1_000));
        assert_eq!(leases.judge(&all, 1_000)[1], Silence::Silent);
        leases.hear(&all[1], heard(1_000));
        assert_eq!(leases.judge(&all, 1_000)[2], Silence::Lost);
        // One site alone has nobody to compare it with.
        assert_eq!(leases.judge(&all[2..], 1_000), [Silence::Lost]);
    }

    #[test]
    fn an_agent_that_is_new_has_its_time_to_be_heard() {
        let all = sites(&["a", "b"]);
        let mut leases = Leases::new(TIMES, 0);
        // One site never had an agent, the other had one that died long ago.
        leases.hear(&all[1], heard(100));
        for site in &all {
            leases.replace(site, 1_000);
        }
        assert_eq!(leases.judge(&all[..1], 1_009), [Silence::None]);
        assert_eq!(leases.judge(&all[1..], 1_009), [Silence::None]);
        assert!(!leases.is_live(&all[0], 1_009));
        assert_eq!(leases.judge(&all[..1], 1_010), [Silence::Silent]);
        assert_eq!(leases.judge(&all[1..], 1_039), [Silence::Silent]);
        // As the controller does it: first what earlier agents held.
        assert_eq!(leases.take_orphaned(1_040), all);
        assert_eq!(leases.judge(&all[..1], 1_040), [Silence::Lost]);
        assert_eq!(leases.judge(&all[1..], 1_040), [Silence::Lost]);
    }

    #[test]
    fn an_earlier_agent_is_waited_for() {
        let all = sites(&["a"]);
        let mut leases = Leases::new(TIMES, 0);
        leases.replace(&all[0], 5);
        assert_eq!(leases.take_orphaned(44), []);
        assert_eq!(leases.take_orphaned(45), all);
        assert_eq!(leases.take_orphaned(45), []);
    }
}
